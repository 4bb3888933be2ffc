"""The smallest task there is: the weight of a thing is said to be the mean of train's."""
