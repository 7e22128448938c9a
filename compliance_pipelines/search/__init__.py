"""Hot and cold as one table: entries are found and queried wherever they are, each once."""
