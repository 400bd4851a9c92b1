def report(p): raise SystemExit("later")
