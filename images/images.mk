# Container images. Included by the Makefile at the root.

##@ Images
.PHONY: images lock-images test-images test-compose test-in-containers clean-images typecheck-images
ENGINE = $(PY) -m testkit.deployment.engine $(if $(REQUIRED),--required)
images: ## Build the three images (REGISTRY=, TAG=, BASE=; PUSH=1 pushes them)
	@images/build.sh $(if $(PUSH),--push)

lock-images: setup ## Pin the images of others by digest, where their registry can be reached
	@$(PY) -m images.lock

test-images: setup-sqs ## Build the images and run the cache from them; skipped where no engine can run, unless REQUIRED=1
	@$(ENGINE) -- $(PY) -m pytest tests/deployment/test_images*.py

test-compose: setup ## Run compose.yaml: kill, upgrade and renew its parts; skipped where no engine can run, unless REQUIRED=1
	@$(ENGINE) -- $(PY) -m testkit.deployment.compose
	@$(ENGINE) --bridges -- $(PY) -m pytest tests/compose

test-in-containers: setup-sqs ## Run integration and conformance tests with their servers in containers
	@$(ENGINE) -- $(PY) -m testkit.deployment.parts_in_containers \
	  $(MAKE) $(if $(filter file,$(origin T)),test-integration test-conformance,tests)

clean-images: ## Remove the engine's files that `make test-images` keeps (.tools/images)
	@rm -rf .tools/images

typecheck: typecheck-images
typecheck-images: setup
	@$(PY) -m mypy images
