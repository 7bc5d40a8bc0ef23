package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/testscript"
)

// The pipelines of docs/ci do here what they do at their services: each step's
// own text, run as the service runs it, with what the service gives it.

// gitHub runs a step of a job of the GitHub Actions recipe, by their names.
// $BASE is what the pull request is to be merged into.
func gitHub(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: github job step")
	}
	var recipe struct {
		Jobs map[string]struct {
			Steps []struct {
				Name, Run string
				Env       map[string]string
			}
		}
	}
	ts.Check(yaml.Unmarshal(readRecipe(ts, "github-actions.yml"), &recipe))
	for _, step := range recipe.Jobs[args[0]].Steps {
		if !strings.HasPrefix(step.Name, args[1]) {
			continue
		}
		for k, v := range step.Env {
			ts.Setenv(k, gitHubValues(ts, v))
		}
		file := ts.MkAbs(filepath.Join(ts.Getenv("RUNNER_TEMP"), "step.sh"))
		ts.Check(os.WriteFile(file, []byte(gitHubValues(ts, step.Run)), 0o600))
		ended(ts, neg, ts.Exec("bash", "-e", file)) // the service's own way
		return
	}
	ts.Fatalf("no step %q in job %q", args[1], args[0])
}

var expression = regexp.MustCompile(`\$\{\{ *([^} ]*) *\}\}`)

func gitHubValues(ts *testscript.TestScript, text string) string {
	return expression.ReplaceAllStringFunc(text, func(e string) string {
		switch name := expression.FindStringSubmatch(e)[1]; name {
		case "github.event.pull_request.base.sha":
			ts.Check(ts.Exec("git", "rev-parse", ts.Getenv("BASE")))
			return strings.TrimSpace(ts.ReadFile("stdout"))
		case "github.event.pull_request.number":
			return "7"
		case "github.token":
			return "a-token"
		case "secrets.TASKWALL_NATS_URL":
			return "nats://" + ts.Getenv("NATS")
		case "secrets.TASKWALL_NATS_SEED":
			return ts.ReadFile(ts.MkAbs(ts.Getenv("SEED")))
		default:
			ts.Fatalf("the recipe uses %s, which the test does not know", e)
			return ""
		}
	})
}

var (
	stage = regexp.MustCompile(`(?m)^    stage\('([^']*)'\)`)
	shell = regexp.MustCompile(`sh(?: |\((returnStatus: true), script: )'([^']*)'`)
)

// jenkins runs the shell steps of a stage of the Jenkins recipe, in order. As
// in the recipe, a step that returns its status fails above 1.
func jenkins(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: jenkins stage")
	}
	text := string(readRecipe(ts, "Jenkinsfile"))
	stages := stage.FindAllStringSubmatchIndex(text, -1)
	for i, at := range stages {
		if text[at[2]:at[3]] != args[0] {
			continue
		}
		end := len(text)
		if i+1 < len(stages) {
			end = stages[i+1][0]
		}
		steps := shell.FindAllStringSubmatch(text[at[0]:end], -1)
		if len(steps) == 0 {
			break
		}
		var err error
		for _, step := range steps {
			command := step[2]
			if step[1] != "" {
				command += " || test $? = 1"
			}
			if err = ts.Exec("sh", "-xe", "-c", command); err != nil {
				break
			}
		}
		ended(ts, neg, err)
		return
	}
	ts.Fatalf("no steps in a stage %q", args[0])
}

func readRecipe(ts *testscript.TestScript, name string) []byte {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "ci", name))
	ts.Check(err)
	return text
}

func ended(ts *testscript.TestScript, neg bool, err error) {
	switch {
	case err != nil && !neg:
		ts.Fatalf("it failed: %v", err)
	case err == nil && neg:
		ts.Fatalf("it did not fail")
	}
}
