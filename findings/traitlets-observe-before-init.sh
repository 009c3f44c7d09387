#!/usr/bin/env bash
# traitlets 5.16.1: the handlers that a class declares with @observe are registered by self.observe(), from __new__:
# before its __init__ has begun.
# Seen: a base class that overrides observe() in order to note something about each handler, in an attribute that
# its __init__ makes, works until somebody writes a subclass with @observe; then its observe() is called on an
# object that has no such attribute, and making the object raises AttributeError.
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

python3 -m pip install --quiet --disable-pip-version-check --target packages traitlets==5.16.1 2>pip.log || {
    cat pip.log >&2
    echo "not run: these packages are not to be had here" >&2
    exit 2
}

PYTHONPATH=packages python3 - <<'EOF'
import traitlets

class Base(traitlets.HasTraits):
    value = traitlets.Int()

    def __init__(self):
        self.noted = []
        super().__init__()

    def observe(self, handler, names=traitlets.All, type="change"):
        self.noted.append(handler)
        super().observe(handler, names, type)

class Derived(Base):
    @traitlets.observe("value")
    def changed(self, change):
        pass

Base().observe(print, "value")
try:
    Derived()
    outcome = "made"
except AttributeError as error:
    outcome = str(error)
print(outcome)
raise SystemExit(outcome != "'Derived' object has no attribute 'noted'")
EOF
