package agent_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/taskwall/taskwall/agent"
)

// A state directory that others can write to says nothing that can be trusted.
func TestStateDirectoryOfOthers(t *testing.T) {
	for name, open := range map[string]func(dir string) error{
		"writable by all": func(dir string) error { return os.Chmod(dir, 0o777) },
		"of a group":      func(dir string) error { return errors.Join(os.Chown(dir, 0, 65534), os.Chmod(dir, 0o770)) },
		"of another user": func(dir string) error { return os.Chown(dir, 65534, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := open(dir); err != nil {
				t.Fatal(err)
			}
			_, err := agent.New(agent.Config{Host: "h1", MesosAgent: "http://127.0.0.1:5051", StateDir: dir}, nil, nil)
			if err == nil || !strings.Contains(err.Error(), "others could write to it") {
				t.Errorf("%v", err)
			}
		})
	}
}
