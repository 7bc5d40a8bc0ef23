package firewall

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/taskwall/taskwall/events/work"
)

// unlucky puts a restore in front of the true one (TRUE in first). Each time it is
// armed it does first, once.
func unlucky(t *testing.T, b Backend, first string) (arm func()) {
	t.Helper()
	dir := t.TempDir()
	for _, tool := range []string{"iptables", "ip6tables"} {
		name := fmt.Sprintf("%s-%s-restore", tool, b)
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		script := strings.NewReplacer("DIR", dir, "FIRST", first).Replace("#!/bin/sh\nif [ -e DIR/armed ]; then rm DIR/armed; FIRST; fi\nexec TRUE \"$@\"\n")
		script = strings.ReplaceAll(script, "TRUE", path)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return func() {
		if err := os.WriteFile(filepath.Join(dir, "armed"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// A restore that is killed, hangs, or meets another writer says nothing about
// the program: it is not closed for it, and the next try takes it.
func TestRestoreFailsInPassing(t *testing.T) {
	for _, b := range backends {
		for name, first := range map[string]string{
			"killed":            "kill -9 $$",
			"killed afterwards": `TRUE "$@"; kill -9 $$`,
			"hangs":             "exec sleep 300",
			"another writer":    "echo 'iptables: Resource temporarily unavailable.' >&2; exit 4",
			"lock":              "echo 'Another app is currently holding the xtables lock.' >&2; exit 4",
		} {
			t.Run(string(b)+"/"+name, func(t *testing.T) {
				arm := unlucky(t, b, first)
				f := open(t, b)
				f.tools.patience = 5 * time.Second
				if strings.HasPrefix(first, "exec") {
					f.tools.patience = time.Second
				}
				ctx := context.Background()
				p := sample()
				if _, _, err := f.Sync(ctx, p); err != nil {
					t.Fatal(err)
				}
				more := work.Program{ID: "more", Ingress: []work.Tier{{Name: "t", Rules: []work.Rule{{Action: work.Allow, Policy: "p"}}}}}
				arm()
				if _, err := f.Programs(ctx, []work.Program{more}, nil); err == nil {
					t.Fatal("nothing failed: the test shows nothing")
				}
				failed, err := f.Programs(ctx, []work.Program{more}, nil)
				if err != nil || len(failed) > 0 || f.Closed("more") {
					t.Fatalf("the second try: %v, %v, closed %v", failed, err, f.Closed("more"))
				}
				p.Programs["more"] = more
				if _, failed, err := f.Sync(ctx, p); err != nil || len(failed) > 0 {
					t.Fatalf("the check: %v, %v", failed, err)
				}
				drift, _, err := f.Sync(ctx, p)
				if err != nil || len(drift) > 0 {
					t.Errorf("a second check finds %v, %v", drift, err)
				}
				if out := run(t, "iptables-"+string(b), "-S"); strings.Count(out, "-j tw-forward") != 1 || !strings.Contains(out, "-A tw-i-more ") || strings.Contains(out, `"closed: `) {
					t.Errorf("the kernel holds\n%s", out)
				}
			})
		}
	}
}
