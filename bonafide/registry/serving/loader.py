"""The file that MLflow keeps with a model and runs to load it: all it does is name the code, so that it never changes.

MLflow's other way to keep a Python model is a pickle.
"""

from mlflow.models import set_model

from bonafide.registry.serving.pyfunc_model import PackagedModel

set_model(PackagedModel())
