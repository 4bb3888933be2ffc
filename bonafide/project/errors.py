"""The one exception that means: the user's input is refused; and the exit codes."""

NO, REFUSED, ENVIRONMENT = 1, 3, 4  # an answer, the user's data or model, the machine; 2 is a wrong usage


class InputError(ValueError):
    """What the user gave cannot be used; the message is one line that names the thing (file, row id, key).

    `run_stage` prints the message and exits with 3. Any other exception is a bug of ours and keeps its traceback.
    """
