package main

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var writePage = flag.Bool("page", false, "write what the commands print now into docs/audit.md")

// auditPage is the page whose examples are run, with the log of a demonstration:
// testdata/demo, a copy of what 'make demo' leaves, as an auditor makes it.
const auditPage = "../../docs/audit.md"

// TestAuditPage runs the examples of docs/audit.md in their order and compares
// what they print with the page. A line "…" stands for any lines. Since the copy
// is of long ago it shows as well that old logs are read, and proven, as before.
func TestAuditPage(t *testing.T) {
	dir := t.TempDir()
	for name, to := range map[string]string{"copy": "testdata/demo/copy", "checkpoint.pub": "testdata/demo/checkpoint.pub", "policies": "../../e2e/story/policies"} {
		at, err := filepath.Abs(to)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(at, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(auditPage)
	if err != nil {
		t.Fatal(err)
	}
	lines, examples := strings.SplitAfter(string(data), "\n"), 0
	for at := 0; at < len(lines); at++ {
		command, ok := strings.CutPrefix(lines[at], "$ taskwall audit ")
		if !ok || strings.Contains(command, "--copy ") { // that would be another
			continue
		}
		end := at + 1
		for lines[end] != "```\n" && !strings.HasPrefix(lines[end], "$ ") {
			end++
		}
		examples++
		want, got := lines[at+1:end], example(t, dir, strings.TrimSpace(command))
		blank := len(want) > 0 && want[len(want)-1] == "\n" && lines[end] != "```\n" // before the next command
		if blank {
			want = want[:len(want)-1]
		}
		if printed(want, got) {
			continue
		}
		if *writePage && !slices.Contains(want, "…\n") {
			if blank {
				got = append(got, "\n")
			}
			lines = slices.Replace(lines, at+1, end, got...)
			continue
		}
		t.Errorf("docs/audit.md, line %d: taskwall audit %s prints\n%s\nand on the page is\n%s", at+1, command, strings.Join(got, ""), strings.Join(want, ""))
	}
	if examples < 12 {
		t.Errorf("%d examples were found", examples)
	}
	if *writePage {
		if err := os.WriteFile(auditPage, []byte(strings.Join(lines, "")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// example runs a command with the copy, and returns the lines that it prints.
func example(t *testing.T, dir, command string) []string {
	t.Helper()
	switch {
	case strings.HasPrefix(command, "check-bundle altered.tar.gz"):
		alter(t, dir)
	case !strings.HasPrefix(command, "check-bundle"):
		command += " --copy copy"
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "taskwall audit "+command)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TZ=UTC")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("taskwall audit %s: %v\n%s", command, err, stderr.String())
	}
	return slices.Collect(strings.Lines(string(out)))
}

// alter makes altered.tar.gz of evidence.tar.gz: another label on a task.
func alter(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", `mkdir files
		tar -xzf evidence.tar.gz -C files
		sed -i '/"seq":23,/s/"payments"/"payroll"/' files/log.jsonl
		tar -czf altered.tar.gz -C files README.txt question.json log.jsonl answer.json report.html`)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("altering the bundle: %v\n%s", err, out)
	}
}

// printed tells whether lines are those of the page.
func printed(want, got []string) bool {
	for i, line := range want {
		if line == "…\n" {
			for skip := range len(got) - i + 1 {
				if printed(want[i+1:], got[i+skip:]) {
					return true
				}
			}
			return false
		}
		if i >= len(got) || line != got[i] {
			return false
		}
	}
	return len(want) == len(got)
}
