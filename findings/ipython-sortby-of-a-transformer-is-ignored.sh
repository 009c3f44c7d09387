#!/usr/bin/env bash
# IPython 9.18.0: TokenTransformBase.sortby() of a subclass is never called: the transformers of a cell are sorted
# by the base class's method, as a plain function.
# Seen: of two token transformers that both find something in a line, the one with the earlier position is tried
# first, whatever the other's sortby() returns; the override is not called once. Only `priority` has an effect,
# and only between transformers that start at the same place.
set -euo pipefail
folder=$(mktemp -d)
started=()
finish() {
    for pid in ${started[@]+"${started[@]}"}; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap finish EXIT
cd "$folder"

python3 -m pip install --quiet --disable-pip-version-check --target packages ipython==9.18.0 2>pip.log || {
    cat pip.log >&2
    echo "not run: these packages are not to be had here" >&2
    exit 2
}

PYTHONPATH=packages python3 - <<'EOF'
from IPython.core.inputtransformer2 import TokenTransformBase, TransformerManager

calls = []
order = []

class Word(TokenTransformBase):
    word = ""

    @classmethod
    def find(cls, tokens_by_line):
        for line in tokens_by_line:
            for token in line:
                if token.string == cls.word:
                    return cls(token.start)

    def transform(self, lines):
        order.append(self.word)
        return [line.replace(self.word, "1") for line in lines]

class First(Word):
    word = "FIRST"

class Second(Word):
    word = "SECOND"

    def sortby(self):
        calls.append(self)
        return -1, -1, -1  # before all others

manager = TransformerManager()
manager.token_transformers = [First, Second]
manager.transform_cell("x = FIRST + SECOND\n")
print(f"order: {order}; sortby called {len(calls)} times")
raise SystemExit((order, calls) != (["FIRST", "SECOND"], []))
EOF
