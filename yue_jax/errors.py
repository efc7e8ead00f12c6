"""What is wrong with a row of a manifest."""


class SongError(ValueError):
  """A song that cannot be used; `reason` is a slug fit for counting."""

  def __init__(self, reason: str, message: str):
    super().__init__(reason, message)
    self.reason = reason
    self.message = message

  def __str__(self) -> str:
    return self.message
