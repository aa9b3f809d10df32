"""The words of a search, for those that print it in pieces; ``print(result)`` says all."""

from ._result import search_headline as search_headline
from ._result import search_sentences as search_sentences
