#!/bin/sh
# The main job on real data: 80 mails of a bank's customers become a model, which is then put to a test of 320.
# Usage: sh examples/demo.sh [PATH-OF-SARTOR]
set -eu
sartor=${1:-sartor}
here=$(dirname "$0")/bank-mails

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

say "1. Eight labels, ten mails each: generate a model, and prove it"
run "$sartor" generate "$here/task.yaml"

say "2. Put it, and every baseline, to 320 mails that none has seen"
run "$sartor" evaluate bank-mails --data "$here/test.csv" --examples "$here/train.csv" --html demo-report.html

say "3. Ask it"
run "$sartor" predict bank-mails "I ordered my card two weeks ago and it still has not come" "Will it rain tomorrow?"

say "What to do next"
cat <<END
Open demo-report.html. Then try your own: a CSV with the columns text and label (Excel's is fine), and

  $sartor init "Route support mails to billing, bug or other" --examples mails.csv
  $sartor generate task.yaml

No rows yet? A description that names the labels is enough to begin with:

  $sartor generate "Is this review positive or negative?"
END
