package ha

import (
	"bufio"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/taskwall/taskwall/events/bus"
)

// taskwall is the binary under test.
var taskwall string

// natsVariable holds a server's options, as JSON, for a child of the tests
// that is nothing but that NATS server.
const natsVariable = "TASKWALL_HA_NATS"

func TestMain(m *testing.M) {
	if options := os.Getenv(natsVariable); options != "" {
		serveNATS(options)
		return
	}
	code, err := withBinary(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, "building taskwall:", err)
		code = 1
	}
	os.Exit(code)
}

func withBinary(tests func() int) (int, error) {
	dir, err := os.MkdirTemp("", "taskwall-ha-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	taskwall = filepath.Join(dir, "taskwall")
	// Without the race detector: a dozen processes share the machine, and the
	// detector's part is done where the same code runs in one process.
	if out, err := exec.Command("go", "build", "-o", taskwall, "github.com/taskwall/taskwall/cmd/taskwall").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	return tests(), nil
}

func serveNATS(options string) {
	var o bus.ServerOptions
	err := json.Unmarshal([]byte(options), &o)
	if err == nil && os.Getenv(diskVariable) != "" {
		err = mountDisk(o.Dir)
	}
	var s *bus.Server
	if err == nil {
		s, err = bus.StartServer(o, slog.New(slog.NewTextHandler(os.Stdout, nil)))
	}
	for lines := bufio.NewScanner(os.Stdin); err == nil && lines.Scan(); { // until the tests end
		err = diskDoes(lines.Text(), o.Dir)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s.Shutdown()
}
