"""A Pellucid classifier in scikit-learn's pipeline and grid search."""

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pellucid.connect.sklearn import PellucidClassifier

# which of 400 made-up customers will come back
rows = pd.DataFrame({"visits": range(400), "town": ["north", "south", "east", "west"] * 100})
rows["visits"] = rows["visits"] * 7 % 30
returns = ["yes" if v > 12 + 5 * (t == "south") else "no" for v, t in zip(rows["visits"], rows["town"], strict=True)]

encoder = make_column_transformer((OneHotEncoder(), ["town"]), remainder="passthrough")
pipeline = make_pipeline(encoder, PellucidClassifier(epochs=40, learning_rate=0.01))
grid = {"pellucidclassifier__network": ["perceptron", "mlp:16"]}

x, x_test, y, y_test = train_test_split(rows, returns, random_state=0)
search = GridSearchCV(pipeline, grid, cv=2).fit(x, y)
print("best:", search.best_params_["pellucidclassifier__network"])
print(f"test accuracy {search.score(x_test, y_test):.3f}")
