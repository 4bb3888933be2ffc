"""The one exception that means: the user's input is refused."""


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line that names the thing (file, row id, key).

    `run_stage` prints the message and exits with 3. Any other exception is a bug of ours and keeps its traceback.
    """
