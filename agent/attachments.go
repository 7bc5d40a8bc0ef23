package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/taskwall/taskwall/agent/attach"
	"github.com/taskwall/taskwall/agent/cni"
)

// attachment is an endpoint's interface on this host. A file per attachment
// keeps it across restarts; it is there before the interface is and goes after it.
type attachment struct {
	Endpoint  string     `json:"endpoint"`
	Network   string     `json:"network"`
	Container string     `json:"container"`
	Namespace string     `json:"namespace"`
	Iface     string     `json:"iface"`
	Veth      string     `json:"veth"`
	Address   netip.Addr `json:"address"`
	// PID and Started are the process whose namespace it is, when it was
	// attached by its process: see attach.Process.
	PID     int    `json:"pid,omitempty"`
	Started uint64 `json:"started,omitempty"`

	// Wired says that the interface was made whole and the firewall vouches
	// for it. It is not kept: a later process looks at the interface.
	Wired bool `json:"-"`

	// shut says that this process took the firewall's word back.
	shut bool

	// leaving says that it was shut and its removal promised: no later process
	// wires it again. The file's name keeps it. Whoever changes it has claimed the
	// endpoint and holds the agent's mu.
	leaving bool

	missed int // looks in a row at which the Mesos agent did not list the container
}

const attachmentsDir = "attachments"

// What an attachment's file ends with, as long as it is one and when it leaves.
const (
	attachedSuffix = ".json"
	leavingSuffix  = ".leaving"
)

func (at *attachment) spec(mtu int) attach.Spec {
	return attach.Spec{Veth: at.Veth, Namespace: at.Namespace, Iface: at.Iface, Address: at.Address, MTU: mtu}
}

func (at *attachment) result() cni.Result {
	return cni.Result{Address: at.Address, Gateway: attach.Gateway, Iface: at.Iface, Namespace: at.Namespace, Veth: at.Veth}
}

func (at *attachment) file(dir string) string {
	suffix := attachedSuffix
	if at.leaving {
		suffix = leavingSuffix
	}
	return filepath.Join(dir, attachmentsDir, at.Veth+suffix)
}

func (at *attachment) save(dir string) error {
	b, err := json.Marshal(at)
	if err == nil { // the disk may have been read-only at the start
		err = os.MkdirAll(filepath.Join(dir, attachmentsDir), 0o700)
	}
	if err == nil {
		err = writeFile(at.file(dir), b)
	}
	if err != nil {
		return fmt.Errorf("keeping the attachment of %s: %w", at.Endpoint, err)
	}
	return nil
}

func (at *attachment) forget(dir string) error {
	if err := os.Remove(at.file(dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forgetting the attachment of %s: %w", at.Endpoint, err)
	}
	return nil
}

// loadAttachments reads what an earlier process kept. What cannot be read is
// left out: its interface is recognised by its name, once the picture is there.
func loadAttachments(dir string, log *slog.Logger) map[string]*attachment {
	dir = filepath.Join(dir, attachmentsDir)
	all := map[string]*attachment{}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		log.Error("the attachments' directory cannot be made; nothing new is attached until it can", "error", err)
		return all
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		log.Error("the attachments on disk cannot be listed", "error", err)
	}
	for _, e := range entries {
		suffix := filepath.Ext(e.Name())
		if suffix != attachedSuffix && suffix != leavingSuffix {
			continue
		}
		f := filepath.Join(dir, e.Name())
		b, err := os.ReadFile(f)
		var at attachment
		if err == nil {
			err = json.Unmarshal(b, &at)
		}
		if err == nil && (at.Endpoint == "" || at.Veth == "" || !at.Address.Is4()) {
			err = errors.New("it lacks its endpoint, interface or address")
		}
		if err != nil {
			log.Error("an attachment on disk cannot be read and is left out", "file", f, "error", err)
			continue
		}
		at.leaving = suffix == leavingSuffix
		if old := all[at.Endpoint]; old != nil && !old.leaving {
			continue // the one that is leaving is of before
		}
		all[at.Endpoint] = &at
	}
	return all
}
