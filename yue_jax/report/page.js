// Reads out the points of a chart near the pointer, or near a place that the
// arrow keys move. Hiding runs needs no script: see the style of the page.
for (const figure of document.querySelectorAll("figure.chart")) {
  const data = JSON.parse(figure.dataset.series);
  const svg = figure.querySelector("svg");
  const cursor = figure.querySelector(".cursor");
  const output = figure.querySelector("output");
  const places = [...new Set(data.series.flatMap((s) => s.x))].sort((a, b) => a - b);
  let place = places.length - 1;

  const shown = (series) =>
    document.getElementById(`show${series.run}`)?.checked ?? true;

  const nearest = (values, value) => {
    let best = 0;
    for (let i = 1; i < values.length; i++)
      if (Math.abs(values[i] - value) < Math.abs(values[best] - value)) best = i;
    return best;
  };

  const show = () => {
    const at = places[place];
    const x = data.left + (data.width * (at - data.first)) / (data.last - data.first);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.removeAttribute("hidden");
    output.replaceChildren(at.toLocaleString("en") + ":");
    for (const series of data.series.filter(shown)) {
      const i = nearest(series.x, at);
      const part = document.createElement("span");
      part.className = `r${series.run % 8}`;
      part.textContent = `${series.name} ${series.y[i]}`;
      output.append(part);
    }
  };

  const hide = () => {
    cursor.setAttribute("hidden", "");
    output.replaceChildren();
  };

  figure.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const share = ((event.clientX - box.left) * scale - data.left) / data.width;
    place = nearest(places, data.first + share * (data.last - data.first));
    show();
  });
  figure.addEventListener("pointerleave", hide);
  figure.addEventListener("blur", hide);
  figure.addEventListener("keydown", (event) => {
    const step = Math.max(1, Math.round(places.length / 100));
    const to = {
      ArrowLeft: place - (event.shiftKey ? 1 : step),
      ArrowRight: place + (event.shiftKey ? 1 : step),
      Home: 0,
      End: places.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    place = Math.min(Math.max(to, 0), places.length - 1);
    show();
  });
}
