"""Networks: elaborated to a specification with every name and shape, then built as a graph."""
