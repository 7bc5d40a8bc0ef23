package check_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/taskwall/taskwall/policy/check"
	"github.com/taskwall/taskwall/policy/policytest"
	"github.com/taskwall/taskwall/policy/snapshot"
)

var update = flag.Bool("update", false, "write what comes out now as what is wanted")

// TestFindings checks the policies of each archive without and with its
// endpoints.
func TestFindings(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, name := range archives {
		t.Run(filepath.Base(name), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for _, f := range a.Files {
				if strings.HasSuffix(f.Name, ".yaml") {
					path := filepath.Join(dir, f.Name)
					os.MkdirAll(filepath.Dir(path), 0o755)
					if err := os.WriteFile(path, f.Data, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
			list, err := snapshot.Load(filepath.Join(dir, "endpoints.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			for i, o := range []check.Options{{Prefix: "p"}, {Prefix: "p", Endpoints: snapshot.Policies(list)}} {
				r, err := check.Directory(filepath.Join(dir, "policies"), o)
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				if err := r.WriteText(&b); err != nil {
					t.Fatal(err)
				}
				want := &a.Files[len(a.Files)-2+i]
				if *update {
					want.Data = b.Bytes()
				}
				if diff := cmp.Diff(string(want.Data), b.String()); diff != "" {
					t.Errorf("%s endpoints: %s", want.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestFormats(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "a,b.yaml"), []byte("kind: Teir\n---\n# 100%\napiVersion: projectcalico.org/v3\nkind: Tier\nmetadata: {name: A}\n"), 0o644)
	r, err := check.Directory(dir, check.Options{Prefix: "policies"})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Failed(false) {
		t.Error("errors do not fail")
	}
	var github, sarif bytes.Buffer
	if err := r.WriteGitHub(&github); err != nil {
		t.Fatal(err)
	}
	want := "::error file=policies/a%2Cb.yaml,line=1,col=7,title=policy invalid::kind: no kind is called \"Teir\"; write Tier\n" +
		"::error file=policies/a%2Cb.yaml,line=6,col=18,title=policy invalid::metadata.name: \"A\" is no name; use a-z, 0-9, - and ., beginning and ending with a letter or digit\n"
	if diff := cmp.Diff(want, github.String()); diff != "" {
		t.Error(diff)
	}
	if err := r.WriteSARIF(&sarif); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"version": "2.1.0"`, `"ruleId": "invalid"`, `"level": "error"`, `"uri": "policies/a,b.yaml"`, `"startLine": 6`, `"startColumn": 18`} {
		if !strings.Contains(sarif.String(), want) {
			t.Errorf("SARIF without %s:\n%s", want, &sarif)
		}
	}
}

func TestStrict(t *testing.T) {
	r := check.Report{Warnings: 1}
	if r.Failed(false) || !r.Failed(true) {
		t.Error("warnings fail exactly when they are asked to")
	}
	if _, err := check.Directory(filepath.Join(t.TempDir(), "none"), check.Options{}); err == nil {
		t.Error("a directory that is not there is no error")
	}
}

// TestManyPolicies guards against checks that compare every policy with every
// other.
func TestManyPolicies(t *testing.T) {
	w := policytest.Workload{Endpoints: 1000, Policies: 1500}
	var b strings.Builder
	for i, p := range w.AllPolicies() {
		if i > 0 {
			b.WriteString("---\n")
		}
		fmt.Fprintf(&b, "%s\n", p.Body)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "all.yaml"), []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	r, err := check.Directory(dir, check.Options{Endpoints: w.AllEndpoints()})
	if err != nil || r.Errors > 0 {
		t.Fatal(err, r.Findings[:min(3, len(r.Findings))])
	}
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %s", took)
	} else {
		t.Logf("%d policies, %d endpoints: %s, %d warnings", w.Policies, w.Endpoints, took, r.Warnings)
	}
}
