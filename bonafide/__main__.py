"""The command line, as `bonafide` and `python -m bonafide`."""

from bonafide.project.activation import watch

watch()

from bonafide.cli.app import main  # noqa: E402  (its imports are watched)

if __name__ == "__main__":
    main()
