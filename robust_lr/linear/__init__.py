"""Linear, logistic and softmax regression by SGD in numpy, many trials at once."""
