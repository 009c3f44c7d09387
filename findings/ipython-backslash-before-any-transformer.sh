#!/usr/bin/env bash
# IPython 9.18.0: TransformerManager.check_complete() calls a cell whose last line ends with a backslash incomplete
# before it asks any transformer, also where the line is a magic's text and no Python.
# Seen: `%cd C:\` is "incomplete", though transform_cell() makes one whole call of it; a cleanup transformer that
# would take the line is never called. At the terminal, Enter then opens a second line instead of running the
# magic, and an extension can change that only by replacing check_complete itself.
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
from IPython.core.inputtransformer2 import TransformerManager

manager = TransformerManager()
asked = []

def mine(lines):
    asked.append(lines)
    return lines

manager.cleanup_transforms.insert(0, mine)
status, _ = manager.check_complete("%cd C:\\\n")
times = len(asked)
slash, _ = manager.check_complete("%cd C:/\n")
made = manager.transform_cell("%cd C:\\\n")
print(f"with a backslash: {status}, {times} transformers asked; with a slash: {slash}; it becomes {made!r}")
compile(made, "cell", "exec")
raise SystemExit((status, times, slash) != ("incomplete", 0, "complete"))
EOF
