// Package deploy puts our programs on the hosts of a simulated cluster, as an
// operator would on real ones: one controller beside the masters, an agent and
// the CNI plugin on each host, and a key for everyone who speaks on the bus.
package deploy

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/proc"
	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/scheduler/controller"
)

// controlAddress is where the masters, Marathon and our controller are.
const controlAddress = "192.168.50.2"

// Options say where a deployment is made.
type Options struct {
	Prefix string // of the namespaces' names; unique on the machine
	Bin    string // directory with the binaries taskwall, taskwall-cni and peer
	// Log, if set, gets what the processes print, a line each with its name.
	Log io.Writer
}

// Deployment is a cluster with our programs. Strike ends it.
type Deployment struct {
	Bin     string
	Dir     string // for the files of all
	Fabric  *netns.Fabric
	Cluster *sim.Cluster // nil before StartCluster
	Procs   proc.Group
	// Controlling are more flags of the controller.
	Controlling []string
	// Patience is how long Until waits.
	Patience time.Duration
}

// New makes an empty fabric and a directory.
func New(opt Options, patience time.Duration) (*Deployment, error) {
	d := &Deployment{Bin: opt.Bin, Procs: proc.Group{Log: opt.Log}, Patience: patience}
	var err error
	if d.Dir, err = os.MkdirTemp("", opt.Prefix+"-"); err != nil {
		return nil, err
	}
	if d.Fabric, err = netns.New(opt.Prefix); err != nil {
		return nil, errors.Join(err, d.Strike())
	}
	return d, nil
}

// Unpack writes a folder of embedded files into the directory and says where
// they are now.
func (d *Deployment) Unpack(files fs.FS, folder string) (string, error) {
	to := filepath.Join(d.Dir, folder)
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", err
	}
	entries, err := fs.ReadDir(files, folder)
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		data, err := fs.ReadFile(files, folder+"/"+e.Name())
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), data, 0o644); err != nil {
			return "", err
		}
	}
	return to, nil
}

// StartCluster starts the simulated cluster with the plugin's network on each
// host. Hosts of later may be added to it afterwards.
func (d *Deployment) StartCluster(ctx context.Context, hosts []sim.Host, later ...string) error {
	cfg := sim.Config{
		Fabric: d.Fabric, Control: sim.Host{Name: "ctl", Address: controlAddress + "/24"}, Hosts: hosts,
		CNIPlugins: d.Bin, HostCNIConf: map[string]string{}, HostDocker: map[string]string{}, TaskPath: d.Bin,
		DialBack: true, TaskKilling: true,
	}
	names := later
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	for _, name := range names {
		conf := filepath.Join(d.Dir, name, "cni")
		if err := os.MkdirAll(conf, 0o755); err != nil {
			return err
		}
		network := fmt.Sprintf(`{"cniVersion":"0.2.0","name":"taskwall","type":"taskwall-cni","socket":%q}`, d.socket(name))
		if err := os.WriteFile(filepath.Join(conf, "taskwall.json"), []byte(network), 0o644); err != nil {
			return err
		}
		cfg.HostCNIConf[name], cfg.HostDocker[name] = conf, d.docker(name)
	}
	var err error
	if d.Cluster, err = sim.Start(ctx, cfg); err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	return nil
}

func (d *Deployment) socket(host string) string { return filepath.Join(d.Dir, host, "agent.sock") }
func (d *Deployment) docker(host string) string { return filepath.Join(d.Dir, host, "docker.sock") }

// StartController makes the keys, those of the agents of hosts too, and starts
// the controller.
func (d *Deployment) StartController(ctx context.Context, hosts ...string) error {
	users, err := d.writeKeys(hosts)
	if err != nil {
		return fmt.Errorf("making the keys of the message bus: %w", err)
	}
	if err := d.writeCheckpointKey(); err != nil {
		return fmt.Errorf("making the key that signs checkpoints: %w", err)
	}
	return d.Start(ctx, d.Cluster.Control, "controller", "taskwall", append([]string{"controller",
		"--mesos", d.Cluster.MasterURL(), "--marathon", d.Cluster.MarathonURL(),
		"--data-dir", filepath.Join(d.Dir, "controller"), "--address-hold", "5s",
		"--nats-listen", controlAddress + ":4222", "--nats-users", users, "--nats-nkey", d.ControllerKey(),
		"--checkpoint-key", d.checkpointKey(), "--checkpoint-every", "1s"}, d.Controlling...)...)
}

func (d *Deployment) checkpointKey() string { return filepath.Join(d.Dir, "checkpoint.key") }

// CheckpointPublic is the file of the public half of the key that signs the log.
func (d *Deployment) CheckpointPublic() string { return filepath.Join(d.Dir, "checkpoint.pub") }

// writeCheckpointKey makes the key as 'openssl genpkey -algorithm ed25519' does,
// and its public half.
func (d *Deployment) writeCheckpointKey() error {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.checkpointKey(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	if der, err = x509.MarshalPKIXPublicKey(public); err != nil {
		return err
	}
	return os.WriteFile(d.CheckpointPublic(), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o644)
}

// writeKeys gives everyone a key of their own: an agent can read its own host's
// work and write its own host's reports, nothing else.
func (d *Deployment) writeKeys(hosts []string) (file string, err error) {
	users := bus.Users{Operators: map[string]string{}, Agents: map[string]string{}}
	for _, name := range append([]string{"controller", "operator", "auditor"}, hosts...) {
		seed, public, err := bus.NewKey()
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(d.key(name), seed, 0o600); err != nil {
			return "", err
		}
		switch name {
		case "controller":
			users.Controller = public
		case "operator":
			users.Operators[name] = public
		case "auditor":
			users.Auditor = public
		default:
			users.Agents[name] = public
		}
	}
	file = filepath.Join(d.Dir, "users.yaml")
	return file, users.Save(file)
}

func (d *Deployment) key(name string) string { return filepath.Join(d.Dir, name+".nk") }

// ControllerKey is the file of the controller's own key.
func (d *Deployment) ControllerKey() string { return d.key("controller") }

// NATS is where the controller's message bus listens.
func (d *Deployment) NATS() string { return "nats://" + controlAddress + ":4222" }

// StartAgent starts the agent of a host, which others reach by an address.
func (d *Deployment) StartAgent(ctx context.Context, host, address string) error {
	node := d.Cluster.Host(host)
	return d.Start(ctx, node.NS, AgentOf(host), "taskwall", append([]string{"agent", "--address", address},
		d.agentFlags(host, node.IP+":5051")...)...)
}

// AgentCommand is a shell command that starts the agent of any host, as a task
// there: it is told the host's name.
func (d *Deployment) AgentCommand(host string) string {
	return "exec " + filepath.Join(d.Bin, "taskwall") + " agent " + strings.Join(d.agentFlags(host, "$MESOS_AGENT_ENDPOINT"), " ")
}

func (d *Deployment) agentFlags(host, mesosAgent string) []string {
	return []string{
		"--host", host, "--nats-url", d.NATS(), "--nats-nkey", d.key(host), "--mesos-agent", "http://" + mesosAgent,
		"--socket", d.socket(host), "--docker-socket", d.docker(host), "--state-dir", filepath.Join(d.Dir, host, "state"),
	}
}

// AgentOf is the name of a host's agent among the programs.
func AgentOf(host string) string { return "agent " + host }

// Start starts one of our binaries on a host.
func (d *Deployment) Start(ctx context.Context, host *netns.Host, name, binary string, args ...string) error {
	_, err := d.Procs.Start(ctx, host, name, filepath.Join(d.Bin, binary), args...)
	return err
}

// Credentials are the flags with which an operator's command reaches the
// controller.
func (d *Deployment) Credentials() []string {
	return []string{"--nats-url", d.NATS(), "--nats-nkey", d.key("operator")}
}

// Auditor are those with which the log is asked.
func (d *Deployment) Auditor() []string {
	return []string{"--nats-url", d.NATS(), "--nats-nkey", d.key("auditor")}
}

// Taskwall runs a taskwall command beside the controller, as an operator or, for
// an audit, as the auditor, and returns what it printed on standard output.
// Exit status 1 (the answer is no) is an error like any other.
func (d *Deployment) Taskwall(ctx context.Context, args ...string) (string, error) {
	credentials := d.Credentials()
	if args[0] == "audit" {
		credentials = d.Auditor()
	}
	return proc.Output(ctx, d.Cluster.Control, filepath.Join(d.Bin, "taskwall"), append(args, credentials...)...)
}

// Status asks the controller.
func (d *Deployment) Status(ctx context.Context) (controller.Status, error) {
	var st controller.Status
	out, err := d.Taskwall(ctx, "status", "-o", "json")
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal([]byte(out), &st)
}

// WaitReady waits until the agents of so many hosts are at work.
func (d *Deployment) WaitReady(ctx context.Context, hosts int) error {
	return d.Until(ctx, "all hosts to be ready", func() (bool, error) {
		st, err := d.Status(ctx)
		ready := 0
		for _, h := range st.Hosts {
			if h.State == "ready" && st.Agents[h.Name].Applied > 0 {
				ready++
			}
		}
		return ready == hosts, err
	})
}

// WaitAttached waits until an app has n running tasks that their hosts report
// as attached, and returns the tasks.
func (d *Deployment) WaitAttached(ctx context.Context, app string, n int) ([]sim.Task, error) {
	tasks, err := d.Cluster.WaitRunning(ctx, app, n)
	if err != nil {
		return nil, fmt.Errorf("waiting for %d tasks of %s: %w%s", n, app, err, d.Procs.LastWords())
	}
	return tasks, d.Until(ctx, fmt.Sprintf("%d tasks of %s to be attached", n, app), func() (bool, error) {
		st, err := d.Status(ctx)
		attached := 0
		for _, e := range st.Endpoints {
			if e.App == app && e.Wiring == events.Attached {
				attached++
			}
		}
		return attached == n, err
	})
}

// Until asks again and again, as people do who wait, until the answer is yes.
// An error counts as a no that the end of the wait explains.
func (d *Deployment) Until(ctx context.Context, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, d.Patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		yes, err := ask()
		if yes {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w%s", what, errors.Join(ctx.Err(), err), d.Procs.LastWords())
		}
	}
}

// Strike ends every process and removes everything; it can be called twice.
func (d *Deployment) Strike() error {
	var errs []error
	if d.Cluster != nil {
		errs = append(errs, d.Cluster.Close())
		d.Cluster = nil
	}
	errs = append(errs, d.Procs.StopAll())
	if d.Fabric != nil {
		errs = append(errs, d.Fabric.Close())
	}
	if d.Dir != "" {
		errs = append(errs, os.RemoveAll(d.Dir))
	}
	return errors.Join(errs...)
}

// Output is all that the programs printed that have ended.
func (d *Deployment) Output() string { return d.Procs.Ended() }
