from docs.generate import generated

for path, text in generated():
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
