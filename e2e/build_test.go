package e2e

import (
	"fmt"
	"os"
	"os/exec"
)

// build builds our programs into a directory, with the race detector when
// these tests have it. The plugin and the workload stay as they are shipped:
// small, and started by the dozen.
func build(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, b := range []struct {
		race bool
		pkgs []string
	}{
		{raceDetector, []string{"github.com/taskwall/taskwall/cmd/taskwall"}},
		{false, []string{"github.com/taskwall/taskwall/cmd/taskwall-cni", "github.com/taskwall/taskwall/e2e/peer"}},
	} {
		args := []string{"build", "-o", dir + "/"}
		if b.race {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, b.pkgs...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	return nil
}
