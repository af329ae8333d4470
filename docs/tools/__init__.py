"""What makes the site of the documentation: its links, its pictures, and the tables that are taken from results."""
