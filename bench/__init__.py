"""Side-by-side benchmarks: how the product stands ten thousand hosts; `README.md` has one machine's figures."""
