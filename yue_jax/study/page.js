"use strict";
// A rater's way through the comparisons of one study.
//
// All that happens is in `state`, which is kept in the browser after every
// change; what is shown follows from it. Which system made a clip is not known
// here: clips have names that say nothing.
(() => {
  const RESULT = "yue_jax study result 1";
  const SIDES = ["left", "right"];
  const study = JSON.parse(find("study").textContent);
  const memory = `yue_jax study ${study.id}`;
  let state = null;

  function find(id) {
    return document.getElementById(id);
  }

  // Numbers in [0, 1) that a text decides: FNV-1a of it, then xorshift32.
  function randomOf(text) {
    let x = 0x811c9dc5;
    for (const byte of new TextEncoder().encode(text)) {
      x = Math.imul(x ^ byte, 0x01000193);
    }
    x = x || 1;
    const draw = () => {
      x ^= x << 13;
      x ^= x >>> 17;
      x ^= x << 5;
      return (x >>> 0) / 2 ** 32;
    };
    for (let i = 0; i < 20; i++) draw();
    return draw;
  }

  function shuffle(items, random) {
    for (let i = items.length - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [items[i], items[j]] = [items[j], items[i]];
    }
    return items;
  }

  // A stretch of the comparisons from a place of the rater's own, in an order
  // of their own, with half of the pairs turned round.
  function assign(rater) {
    const random = randomOf(`${study.id} ${rater}`);
    const all = study.comparisons;
    const first = Math.floor(random() * all.length);
    const own = Array.from(
      { length: study.perRater },
      (_, i) => all[(first + i) % all.length],
    );
    const turned = shuffle(own.map((_, i) => i % 2 === 1), random);
    return shuffle(own.map(({ id, clips }, i) => ({
      comparison: id,
      left: clips[turned[i] ? 1 : 0],
      right: clips[turned[i] ? 0 : 1],
      choices: {},
      seconds: 0,
      heard: { left: 0, right: 0 },
    })), random);
  }

  // ---- memory

  function keep() {
    try {
      localStorage.setItem(`${memory} ${state.rater}`, JSON.stringify(state));
      localStorage.setItem(memory, state.rater);
    } catch (error) {
      complain(
        "This browser keeps nothing, so answers are lost when the page is"
        + " closed. Save your answers before you leave.",
      );
    }
  }

  function recall(rater) {
    try {
      return JSON.parse(localStorage.getItem(`${memory} ${rater}`));
    } catch (error) {
      return null;
    }
  }

  function lastRater() {
    try {
      return localStorage.getItem(memory);
    } catch (error) {
      return null;
    }
  }

  function forgetRater() {
    try {
      localStorage.removeItem(memory);
    } catch (error) {
      // Nothing was kept, hence nothing is to be forgotten.
    }
  }

  // ---- answers

  const isWhole = (item) =>
    study.aspects.every((aspect) => aspect.name in item.choices);

  function result() {
    const whole = state.items.filter(isWhole);
    return {
      format: RESULT,
      study: study.id,
      rater: state.rater,
      assigned: state.items.length,
      started: state.started,
      saved: new Date().toISOString(),
      answers: whole,
    };
  }

  function save() {
    const text = JSON.stringify(result(), null, 1) + "\n";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(
      new Blob([text], { type: "application/json" }),
    );
    link.download = `result-${study.id}-${state.rater}.json`;
    link.click();
  }

  // ---- what is shown

  function complain(text) {
    find("problem").textContent = text;
  }

  function show(section, heading) {
    for (const name of ["begin", "compare", "end"]) {
      find(name).hidden = name !== section;
    }
    find("progress").hidden = find("footer").hidden = section === "begin";
    find("save-part").hidden = section === "end";
    complain("");
    scrollTo(0, 0);
    find(heading).focus();
  }

  function showBegin() {
    show("begin", "begin-title");
  }

  function showProgress() {
    const done = state.items.filter(isWhole).length;
    const all = state.items.length;
    find("bar").max = all;
    find("bar").value = done;
    find("status").textContent = `${done} of ${all} pairs answered`;
    find("rater-name").textContent = state.rater;
  }

  let shownAt = 0;
  let heardBefore = null;

  function showItem() {
    const item = state.items[state.place];
    if (!item) {
      showEnd();
      return;
    }
    const number = `Pair ${state.place + 1} of ${state.items.length}`;
    find("place").textContent = number;
    showPrompt(study.prompts[item.comparison]);
    for (const side of SIDES) find(side).src = source(item[side]);
    for (const input of find("questions").querySelectorAll("input")) {
      input.checked = item.choices[input.name] === input.value;
      input.closest("fieldset").classList.remove("missing");
    }
    find("back").disabled = state.place === 0;
    find("next").textContent =
      state.place + 1 === state.items.length ? "Finish" : "Next";
    shownAt = performance.now();
    heardBefore = { ...item.heard };
    show("compare", "place");
    showProgress();
  }

  function showPrompt(prompt) {
    find("prompt").hidden = !prompt;
    find("tags").textContent = prompt ? prompt.tags : "";
    find("lyrics").textContent = prompt ? prompt.lyrics : "";
    find("lyrics").scrollTop = 0;
  }

  function showEnd() {
    find("done").textContent =
      `You have answered all ${state.items.length} pairs.`;
    show("end", "end-title");
    showProgress();
  }

  function source(clip) {
    const embedded = find(clip);
    return embedded
      ? `data:audio/flac;base64,${embedded.textContent}`
      : `clips/${clip}.flac`;
  }

  function addAspects() {
    for (const aspect of study.aspects) {
      const part = find("aspect").content.cloneNode(true);
      const [title, question] = part.querySelectorAll("legend > *");
      title.textContent = aspect.title;
      question.textContent = aspect.question;
      for (const input of part.querySelectorAll("input")) {
        input.name = aspect.name;
      }
      find("aspects").append(part);
    }
  }

  // ---- what raters do

  // Seconds of a clip that were heard, however often.
  function heard(audio) {
    let sum = 0;
    for (let i = 0; i < audio.played.length; i++) {
      sum += audio.played.end(i) - audio.played.start(i);
    }
    return sum;
  }

  function rounded(seconds) {
    return Math.round(seconds * 10) / 10;
  }

  function note() {
    const item = state && state.items[state.place];
    if (!item) return;
    const now = performance.now();
    item.seconds = rounded(item.seconds + (now - shownAt) / 1000);
    shownAt = now;
    for (const side of SIDES) {
      item.heard[side] = rounded(
        Math.max(heardBefore[side], heard(find(side))),
      );
    }
    keep();
  }

  function go(place) {
    note();
    for (const side of SIDES) find(side).pause();
    state.place = place;
    showItem();
    keep();
  }

  function begin(rater) {
    state = recall(rater) || {
      rater,
      started: new Date().toISOString(),
      place: 0,
      items: assign(rater),
    };
    showItem();
    keep();
  }

  function advance() {
    note();
    const item = state.items[state.place];
    const silent = SIDES.filter((side) => !item.heard[side]);
    const missing = [...find("aspects").children].filter(
      (fieldset) => !fieldset.querySelector("input:checked"),
    );
    for (const fieldset of find("aspects").children) {
      fieldset.classList.toggle("missing", missing.includes(fieldset));
    }
    if (silent.length) {
      complain(`Please play song ${silent.map(
        (side) => (side === "left" ? "A" : "B")).join(" and song ")} first.`);
      find(silent[0]).focus();
    } else if (missing.length) {
      complain(missing.length === 1
        ? "One question is not answered yet."
        : `${missing.length} questions are not answered yet.`);
      missing[0].querySelector("input").focus();
    } else {
      go(state.place + 1);
    }
  }

  function listen() {
    find("who").addEventListener("submit", (event) => {
      event.preventDefault();
      begin(find("rater").value);
    });
    find("questions").addEventListener("submit", (event) => {
      event.preventDefault();
      advance();
    });
    find("questions").addEventListener("change", ({ target }) => {
      state.items[state.place].choices[target.name] = target.value;
      target.closest("fieldset").classList.remove("missing");
      note();
    });
    find("back").addEventListener("click", () => go(state.place - 1));
    find("review").addEventListener("click", () => go(state.place - 1));
    find("save").addEventListener("click", save);
    find("save-part").addEventListener("click", () => {
      note();
      save();
    });
    find("leave").addEventListener("click", () => {
      note();
      for (const side of SIDES) find(side).pause();
      state = null;
      forgetRater();
      find("rater").value = "";
      showBegin();
    });
    for (const side of SIDES) {
      const audio = find(side);
      const figure = audio.closest("figure");
      audio.addEventListener("play", () => {
        find(side === "left" ? "right" : "left").pause();
        figure.classList.add("playing");
      });
      audio.addEventListener("pause", () => {
        figure.classList.remove("playing");
        note();
      });
      audio.addEventListener("error", () => complain(
        `Song ${side === "left" ? "A" : "B"} cannot be played: is its file`
        + " still beside this page?",
      ));
    }
    addEventListener("pagehide", note);
  }

  addAspects();
  listen();
  const rater = lastRater();
  if (rater && recall(rater)) begin(rater);
  else showBegin();
})();
