"""Rebuild the shipped data from its sources: python data/make.py [--check]

Needs the packages of the extra «data»: pip install -e ".[data]". The photos and textures are scikit-image's files, byte
for byte; the digits are scikit-learn's, packed. Afterwards SHA256SUMS and the table in README.md are written anew;
--check compares instead of writing and exits with 1 if anything differs.
"""

import argparse
import hashlib
import io
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
SKIMAGE = "scikit-image, `skimage.data.{}`"
IMAGES = {  # name: (what it shows, where it came from, licence)
    "astronaut": ("Eileen Collins, 512×512 colour", "NASA Great Images, flic.kr/p/r9qvLn", "public domain"),
    "brick": ("brick wall, 512×512 grey", "CC0Textures, Bricks25", "CC0 1.0"),
    "camera": ("photographer with a tripod, 512×512 grey", "Lav Varshney", "CC0 1.0"),
    "chelsea": ("a cat, 451×300 colour", "Stefan van der Walt", "CC0 1.0"),
    "coffee": ("a cup of espresso, 600×400 colour", "Rachel Michetti", "CC0 1.0"),
    "grass": ("grass, 512×512 grey", "DeviantArt, linolafett, Grass 01", "CC0 1.0"),
    "gravel": ("gravel, 512×512 grey", "CC0Textures, Gravel04", "CC0 1.0"),
}
DIGITS = (
    "1797 handwritten digits, 8×8, 0…16",
    "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
    "doi.org/10.24432/C50P49 (its test set, as `sklearn.datasets.load_digits`)",
    "CC BY 4.0",
)

RECORDINGS = {
    "restoration": "the restoration task's dynamic layer, K = 4, 25 epochs from seed 0 at T = 1, T = 30 and annealed 30 → 1",
}


def sources():
    """Yield (file name, bytes) of every shipped file, from the packages that carry the originals."""
    from skimage import data
    from sklearn.datasets import load_digits

    for name in IMAGES:
        getattr(data, name)()  # checks, and fetches where the package does not carry it
        yield f"{name}.png", (Path(data.__file__).parent / f"{name}.png").read_bytes()
    digits = load_digits()
    packed = io.BytesIO()
    np.savez_compressed(packed, images=digits.images.astype(np.uint8), labels=digits.target.astype(np.uint8))
    yield "digits.npz", packed.getvalue()


def readme(sums, sizes):
    rows = [(f"{n}.png", what, f"{SKIMAGE.format(n)}; {who}", lic) for n, (what, who, lic) in IMAGES.items()]
    rows.append(("digits.npz", *DIGITS))
    rows.sort()
    table = [f"| {n} | {what} | {src} | {lic} | {sizes[n] // 1000} kB | `{sums[n]}` |" for n, what, src, lic in rows]
    return "\n".join(
        [
            "# Data",
            "",
            "Real images, small enough to live here (and in the package, so that Colab has them too). `dynconv.lessons.data` loads",
            "them and compares their SHA-256 with `SHA256SUMS` first; check by hand with `sha256sum -c SHA256SUMS`.",
            "A damaged or missing file comes back with `git checkout -- data`, or from its source with",
            "`python data/make.py`, which also writes this page.",
            "",
            "| file | shows | source | licence | size | SHA-256 |",
            "| --- | --- | --- | --- | --- | --- |",
            *table,
            "",
            "## Recordings",
            "",
            "`recordings/` holds training runs of this project's own (MIT, like the code), epoch by epoch, for playing back:",
            "`dynconv.lessons.data.recordings` loads them and compares their SHA-256 with `recordings/SHA256SUMS`. Each file says with",
            "which command, seed and versions it was made. `python data/record.py` records anew.",
            "",
            "| file | shows |",
            "| --- | --- |",
            *(f"| recordings/{name}.json | {what} |" for name, what in RECORDINGS.items()),
            "",
            "## Layers",
            "",
            "`layers/restorers.json` holds two small trained layers, the question's mix and a dynamic one (MIT, like the code), for the",
            "diagrams: `dynconv.lessons.data.restorer` loads them and compares the SHA-256 with `layers/SHA256SUMS`. The file says with",
            "which command, seed and versions it was made, and the errors on held-out windows. They learned from the left 60 % of the",
            "photos; shown and judged are windows from the right 35 %. `python -m experiments.restorers --write` trains them anew.",
            "",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file differs")
    check = parser.parse_args().check
    files = dict(sources())
    sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files["README.md"] = readme(sums, {n: len(c) for n, c in files.items()}).encode()
    files["SHA256SUMS"] = "".join(f"{sums[n]}  {n}\n" for n in sorted(sums)).encode()
    different = [n for n, c in files.items() if not (HERE / n).exists() or (HERE / n).read_bytes() != c]
    for name in [] if check else different:
        (HERE / name).write_bytes(files[name])
    print(f"{len(files)} files, {len(different)} {'differ' if check else 'written'}: {', '.join(different) or 'none'}")
    return int(check and bool(different))


if __name__ == "__main__":
    sys.exit(main())
