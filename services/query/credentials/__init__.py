"""Write keys and query tokens over HTTP, for administrators."""
