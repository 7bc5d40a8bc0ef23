package story

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	marathon "github.com/gambol99/go-marathon"

	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/proc"
	"github.com/taskwall/taskwall/e2e/sim"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/scheduler/controller"
)

//go:embed policies change
var files embed.FS

// Hosts of the cluster.
var Hosts = []string{"h1", "h2", "h3"}

const controlAddress = "192.168.50.2"

// hostAddress is a cluster host's address on the segment.
func hostAddress(i int) string { return fmt.Sprintf("192.168.50.%d", 11+i) }

// Options say how to set the stage.
type Options struct {
	Prefix string // of the namespaces' names; unique on the machine
	Bin    string // directory with the binaries taskwall, taskwall-cni and peer
	// Log, if set, gets what the processes print, a line each with its name.
	Log io.Writer
}

// Stage is the story running.
type Stage struct {
	opt      Options
	dir      string
	fabric   *netns.Fabric
	control  *netns.Host
	outside  map[string]*netns.Host // by machine
	Cluster  *sim.Cluster
	Marathon marathon.Marathon

	procs proc.Group
	tasks map[string][]sim.Task // by app, as last seen
}

// Set builds the hosts, starts the simulated cluster and the machines outside,
// one controller and an agent per host. It returns when all hosts are ready.
func Set(ctx context.Context, opt Options) (s *Stage, err error) {
	s = &Stage{opt: opt, procs: proc.Group{Log: opt.Log}, tasks: map[string][]sim.Task{}, outside: map[string]*netns.Host{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Strike())
			s = nil
		}
	}()
	if s.dir, err = os.MkdirTemp("", opt.Prefix+"-"); err != nil {
		return s, err
	}
	for _, sub := range []string{"policies", "change"} {
		if err = s.unpack(sub); err != nil {
			return s, err
		}
	}
	if s.fabric, err = netns.New(opt.Prefix); err != nil {
		return s, err
	}
	if err = s.startCluster(ctx); err != nil {
		return s, fmt.Errorf("starting the cluster: %w", err)
	}
	if err = s.startOutside(ctx); err != nil {
		return s, fmt.Errorf("starting the machines outside: %w", err)
	}
	if err = s.startOurs(ctx); err != nil {
		return s, err
	}
	return s, s.waitHosts(ctx)
}

func (s *Stage) unpack(sub string) error {
	if err := os.MkdirAll(filepath.Join(s.dir, sub), 0o755); err != nil {
		return err
	}
	entries, err := fs.ReadDir(files, sub)
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := files.ReadFile(sub + "/" + e.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(s.dir, sub, e.Name()), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Policies is the directory with the story's policies; Change that with those
// of its second act.
func (s *Stage) Policies() string { return filepath.Join(s.dir, "policies") }

// Change is the directory with the policies of the second act.
func (s *Stage) Change() string { return filepath.Join(s.dir, "change") }

func (s *Stage) startCluster(ctx context.Context) error {
	cfg := sim.Config{
		Fabric:     s.fabric,
		Control:    sim.Host{Name: "ctl", Address: controlAddress + "/24"},
		CNIPlugins: s.opt.Bin, HostCNIConf: map[string]string{}, HostDocker: map[string]string{}, TaskPath: s.opt.Bin, DialBack: true, TaskKilling: true,
	}
	for i, name := range Hosts {
		conf := filepath.Join(s.dir, name, "cni")
		if err := os.MkdirAll(conf, 0o755); err != nil {
			return err
		}
		network := fmt.Sprintf(`{"cniVersion":"0.2.0","name":"taskwall","type":"taskwall-cni","socket":%q}`, s.socket(name))
		if err := os.WriteFile(filepath.Join(conf, "taskwall.json"), []byte(network), 0o644); err != nil {
			return err
		}
		cfg.HostCNIConf[name], cfg.HostDocker[name] = conf, s.docker(name)
		cfg.Hosts = append(cfg.Hosts, sim.Host{
			Name: name, Address: hostAddress(i) + "/24",
			Attributes: map[string]string{"rack": fmt.Sprintf("r%d", i+1)},
		})
	}
	var err error
	if s.Cluster, err = sim.Start(ctx, cfg); err != nil {
		return err
	}
	s.control = s.Cluster.Control
	client := marathon.NewDefaultConfig()
	client.URL = s.Cluster.MarathonURL()
	client.EventsTransport = marathon.EventsTransportSSE
	client.HTTPClient = s.control.Client()
	client.HTTPClient.Timeout = 10 * time.Second
	client.LogOutput = io.Discard
	s.Marathon, err = marathon.NewClient(client)
	return err
}

func (s *Stage) socket(host string) string { return filepath.Join(s.dir, host, "agent.sock") }

func (s *Stage) docker(host string) string { return filepath.Join(s.dir, host, "docker.sock") }

// startOutside makes the machines that run nothing of ours. Each is known by
// its own address and reached by way of one on the segment.
func (s *Stage) startOutside(ctx context.Context) error {
	for i, m := range Machines {
		way := fmt.Sprintf("192.168.50.%d", 60+i)
		host, err := s.fabric.Host(m.Name, way+"/24", m.Address+"/32")
		if err != nil {
			return err
		}
		s.outside[m.Name] = host
		for _, port := range m.TCP {
			if err := s.start(ctx, host, m.Name, filepath.Join(s.opt.Bin, "peer"),
				"--name", m.Name, "--tcp", fmt.Sprint(port)); err != nil {
				return err
			}
		}
		for _, name := range Hosts {
			if err := s.Cluster.Host(name).NS.Route(m.Address+"/32", way); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Stage) startOurs(ctx context.Context) error {
	if err := s.writeKeys(); err != nil {
		return fmt.Errorf("making the keys of the message bus: %w", err)
	}
	taskwall := filepath.Join(s.opt.Bin, "taskwall")
	if err := s.start(ctx, s.control, "controller", taskwall, "controller",
		"--mesos", s.Cluster.MasterURL(), "--marathon", s.Cluster.MarathonURL(),
		"--data-dir", filepath.Join(s.dir, "controller"), "--address-hold", "5s",
		"--nats-listen", controlAddress+":4222", "--nats-users", s.users(), "--nats-nkey", s.key("controller")); err != nil {
		return err
	}
	for i, name := range Hosts {
		if err := s.StartAgent(ctx, i); err != nil {
			return fmt.Errorf("host %s: %w", name, err)
		}
	}
	return nil
}

// writeKeys gives everyone a key of their own: an agent can read its own host's
// work and write its own host's reports, nothing else.
func (s *Stage) writeKeys() error {
	users := bus.Users{Operators: map[string]string{}, Agents: map[string]string{}}
	for _, name := range append([]string{"controller", "operator", "auditor"}, Hosts...) {
		seed, public, err := bus.NewKey()
		if err != nil {
			return err
		}
		if err := os.WriteFile(s.key(name), seed, 0o600); err != nil {
			return err
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
	return users.Save(s.users())
}

func (s *Stage) users() string { return filepath.Join(s.dir, "users.yaml") }

func (s *Stage) key(name string) string { return filepath.Join(s.dir, name+".nk") }

// Credentials are the flags with which an operator's command reaches the
// controller.
func (s *Stage) Credentials() []string {
	return []string{"--nats-url", s.NATS(), "--nats-nkey", s.key("operator")}
}

// ControllerKey is the file of the controller's own key.
func (s *Stage) ControllerKey() string { return s.key("controller") }

// StartAgent starts the agent of the i-th host.
func (s *Stage) StartAgent(ctx context.Context, i int) error {
	name := Hosts[i]
	return s.start(ctx, s.Cluster.Host(name).NS, agentName(i), filepath.Join(s.opt.Bin, "taskwall"), "agent",
		"--host", name, "--address", hostAddress(i), "--nats-url", s.NATS(), "--nats-nkey", s.key(name),
		"--mesos-agent", "http://"+hostAddress(i)+":5051", "--socket", s.socket(name), "--docker-socket", s.docker(name),
		"--state-dir", filepath.Join(s.dir, name, "state"))
}

// NATS is where the controller's message bus listens.
func (s *Stage) NATS() string { return "nats://" + controlAddress + ":4222" }

func (s *Stage) start(ctx context.Context, host *netns.Host, name, path string, args ...string) error {
	_, err := s.procs.Start(ctx, host, name, path, args...)
	return err
}

// Taskwall runs a taskwall command beside the controller, as an operator or, for
// an audit, as the auditor, and returns what it printed on standard output.
// Exit status 1 (the answer is no) is an error like any other.
func (s *Stage) Taskwall(ctx context.Context, args ...string) (string, error) {
	credentials := s.Credentials()
	if args[0] == "audit" {
		credentials = []string{"--nats-url", s.NATS(), "--nats-nkey", s.key("auditor")}
	}
	return proc.Output(ctx, s.control, filepath.Join(s.opt.Bin, "taskwall"), append(args, credentials...)...)
}

// Status asks the controller.
func (s *Stage) Status(ctx context.Context) (controller.Status, error) {
	var st controller.Status
	out, err := s.Taskwall(ctx, "status", "-o", "json")
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal([]byte(out), &st)
}

// waitHosts waits until every host's agent is at work.
func (s *Stage) waitHosts(ctx context.Context) error {
	return s.until(ctx, "all hosts to be ready", func() (bool, error) {
		st, err := s.Status(ctx)
		if err != nil {
			return false, err
		}
		ready := 0
		for _, h := range st.Hosts {
			if h.State == "ready" && st.Agents[h.Name].Applied > 0 {
				ready++
			}
		}
		return ready == len(Hosts), nil
	})
}

// until asks again and again, as people do who wait, until the answer is yes.
// An error counts as a no that the end of the wait explains.
func (s *Stage) until(ctx context.Context, what string, ask func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
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
			return fmt.Errorf("waiting for %s: %w%s", what, errors.Join(ctx.Err(), err), s.procs.LastWords())
		}
	}
}

// Strike ends every process and removes everything; it can be called twice.
func (s *Stage) Strike() error {
	var errs []error
	if s.Cluster != nil {
		errs = append(errs, s.Cluster.Close())
		s.Cluster = nil
	}
	errs = append(errs, s.procs.StopAll())
	if s.fabric != nil {
		errs = append(errs, s.fabric.Close())
	}
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// Output is all that our processes printed that have ended.
func (s *Stage) Output() string { return s.procs.Ended() }

// RestartAgent kills the agent of the i-th host as kill -9 does, starts it
// again, and waits until it has the host's whole picture in the kernel.
func (s *Stage) RestartAgent(ctx context.Context, i int) error {
	before, err := s.Status(ctx)
	if err != nil {
		return err
	}
	if err := s.procs.Kill(agentName(i)); err != nil {
		return err
	}
	if err := s.StartAgent(ctx, i); err != nil {
		return err
	}
	return s.until(ctx, agentName(i)+" to catch up", func() (bool, error) {
		now, err := s.Status(ctx)
		return err == nil && now.Agents[Hosts[i]].Applied > before.Agents[Hosts[i]].Applied, err
	})
}

// Rules are the rules and sets of the i-th host, without counters.
func (s *Stage) Rules(ctx context.Context, i int) (string, error) {
	var all strings.Builder
	for _, argv := range [][]string{{"iptables-save"}, {"ip6tables-save"}, {"ipset", "-s", "save"}} {
		out, err := proc.Output(ctx, s.Cluster.Host(Hosts[i]).NS, argv[0], argv[1:]...)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, "#") {
				all.WriteString(counters.ReplaceAllString(line, ""))
			}
		}
	}
	return all.String(), nil
}

// counters of a chain, which change with every packet.
var counters = regexp.MustCompile(`\[\d+:\d+\]`)

func agentName(i int) string { return "agent " + Hosts[i] }
