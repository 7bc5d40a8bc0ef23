package sim

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
)

// BuildPeer builds the test workload into a directory, for Config.TaskPath.
func BuildPeer(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "peer"), "github.com/taskwall/taskwall/e2e/peer")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build peer: %w: %s", err, out)
	}
	return nil
}
