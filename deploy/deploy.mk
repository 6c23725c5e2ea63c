# Deployment to AWS. Included by the Makefile at the root; docs/deploy.md describes it from the start.
# CONFIRM=prod answers the question that prod asks, for runs without a terminal.

##@ Deploy
ENV ?=
STEP = @deploy/run.sh
# Options of the steps: from the command line or the environment.
export CONFIRM BROKER ITEM FETCH PART SINCE FOLLOW REVISION

.PHONY: deploy deploy-check deploy-bootstrap deploy-images deploy-infra deploy-logins \
	deploy-kubeconfig deploy-addons deploy-release deploy-rollout
deploy: ## Do all of the following, in this order: make deploy ENV=dev
	$(STEP) all "$(ENV)"

deploy-check: ## Check tools, account, quotas, names and checkout; change nothing
	$(STEP) check "$(ENV)"

deploy-bootstrap: ## Create the bucket of Terraform's state, once for an account and region
	$(STEP) bootstrap "$(ENV)"

deploy-images: ## Build the images and push them
	$(STEP) images "$(ENV)"

deploy-infra: ## Plan terraform/main and apply it (prod asks)
	$(STEP) infra "$(ENV)"

deploy-logins: ## Ask for the Global Brokers' URLs that are missing (BROKER=name: for that one again)
	$(STEP) logins "$(ENV)"

deploy-kubeconfig: ## Connect to the cluster; your own kubeconfig stays as it is
	$(STEP) kubeconfig "$(ENV)"

deploy-addons: ## Install External Secrets, KEDA and what else the cluster lacks
	$(STEP) addons "$(ENV)"

deploy-release: ## Install or upgrade the chart; if that fails, go back to the previous release
	$(STEP) release "$(ENV)"

deploy-rollout: ## Wait until every pod is new and ready
	$(STEP) rollout "$(ENV)"

##@ Operate
.PHONY: smoke status logs rollback destroy
smoke: ## Test the deployed cache from outside (ITEM=synthetic, live or none; FETCH='http://… ftp://…')
	$(STEP) smoke "$(ENV)"

status: ## Show release, pods, listeners, managers, queue
	$(STEP) status "$(ENV)"

logs: ## Show the logs of all pods (PART=listener|manager|metrics|broker, SINCE=10m, FOLLOW=1)
	$(STEP) logs "$(ENV)"

rollback: ## Go back to the previous release (or to REVISION=); prod asks
	$(STEP) rollback "$(ENV)"

destroy: ## Destroy an environment; for prod you type its name
	$(STEP) destroy "$(ENV)"

##@ Check what deploys
.PHONY: test-deployment test-terraform test-apply costs typecheck-deploy
test-deployment: setup-promtool ## Test chart, images and `make deploy`
	@$(PYTEST) $(BOTH_CORES) tests/deployment

test: test-deployment

test-terraform: setup ## Check terraform/; skipped, with a loud line, where Terraform or its provider is missing
	@terraform/check.sh

# dev and prod at the same time, each into an account of its own.
test-apply: setup ## Apply, change and destroy terraform/ with the real provider, in an emulated AWS
	@local/bootstrap.sh apply
	@$(PYTEST) $(BOTH_CORES) tests/apply

costs: setup ## Write docs/costs.md again from docs/costs-assumptions.json
	@PYTHONPATH=. $(PY) docs/costs.py

typecheck: typecheck-deploy
typecheck-deploy: setup
	@$(PY) -m mypy deploy docs/costs.py
