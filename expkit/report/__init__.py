"""What several runs have to say together: rows from their folders, and a report of a sweep."""
