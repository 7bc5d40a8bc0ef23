package story

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	marathon "github.com/gambol99/go-marathon"

	"github.com/taskwall/taskwall/e2e/deploy"
	"github.com/taskwall/taskwall/e2e/netns"
	"github.com/taskwall/taskwall/e2e/proc"
	"github.com/taskwall/taskwall/e2e/sim"
)

//go:embed policies change
var files embed.FS

// Hosts of the cluster.
var Hosts = []string{"h1", "h2", "h3"}

// hostAddress is a cluster host's address on the segment.
func hostAddress(i int) string { return fmt.Sprintf("192.168.50.%d", 11+i) }

// Stage is the story running.
type Stage struct {
	*deploy.Deployment
	outside  map[string]*netns.Host // by machine
	Marathon marathon.Marathon
	policies string
	change   string
	tasks    map[string][]sim.Task // by app, as last seen
}

// Set builds the hosts, starts the simulated cluster and the machines outside,
// one controller and an agent per host. It returns when all hosts are ready.
func Set(ctx context.Context, opt deploy.Options) (s *Stage, err error) {
	d, err := deploy.New(opt, 30*time.Second)
	if err != nil {
		return nil, err
	}
	s = &Stage{Deployment: d, tasks: map[string][]sim.Task{}, outside: map[string]*netns.Host{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Strike())
			s = nil
		}
	}()
	if s.policies, err = s.Unpack(files, "policies"); err != nil {
		return s, err
	}
	if s.change, err = s.Unpack(files, "change"); err != nil {
		return s, err
	}
	if err = s.startCluster(ctx); err != nil {
		return s, err
	}
	if err = s.startOutside(ctx); err != nil {
		return s, fmt.Errorf("starting the machines outside: %w", err)
	}
	if err = s.StartController(ctx, Hosts...); err != nil {
		return s, err
	}
	for i := range Hosts {
		if err = s.startAgent(ctx, i); err != nil {
			return s, err
		}
	}
	return s, s.WaitReady(ctx, len(Hosts))
}

// Policies is the directory with the story's policies; Change that with those
// of its second act.
func (s *Stage) Policies() string { return s.policies }

// Change is the directory with the policies of the second act.
func (s *Stage) Change() string { return s.change }

func (s *Stage) startCluster(ctx context.Context) error {
	var hosts []sim.Host
	for i, name := range Hosts {
		hosts = append(hosts, sim.Host{
			Name: name, Address: hostAddress(i) + "/24",
			Attributes: map[string]string{"rack": fmt.Sprintf("r%d", i+1)},
		})
	}
	if err := s.StartCluster(ctx, hosts); err != nil {
		return err
	}
	client := marathon.NewDefaultConfig()
	client.URL = s.Cluster.MarathonURL()
	client.EventsTransport = marathon.EventsTransportSSE
	client.HTTPClient = s.Cluster.Control.Client()
	client.HTTPClient.Timeout = 10 * time.Second
	client.LogOutput = io.Discard
	var err error
	s.Marathon, err = marathon.NewClient(client)
	return err
}

// startOutside makes the machines that run nothing of ours. Each is known by
// its own address and reached by way of one on the segment.
func (s *Stage) startOutside(ctx context.Context) error {
	for i, m := range machines {
		way := fmt.Sprintf("192.168.50.%d", 60+i)
		host, err := s.Fabric.Host(m.Name, way+"/24", m.Address+"/32")
		if err != nil {
			return err
		}
		s.outside[m.Name] = host
		for _, port := range m.TCP {
			if err := s.Start(ctx, host, m.Name, "peer",
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

// startAgent starts the agent of the i-th host.
func (s *Stage) startAgent(ctx context.Context, i int) error {
	return s.StartAgent(ctx, Hosts[i], hostAddress(i))
}

// RestartAgent kills the agent of the i-th host as kill -9 does, starts it
// again, and waits until it has the host's whole picture in the kernel.
func (s *Stage) RestartAgent(ctx context.Context, i int) error {
	before, err := s.Status(ctx)
	if err != nil {
		return err
	}
	if err := s.Procs.Kill(deploy.AgentOf(Hosts[i])); err != nil {
		return err
	}
	if err := s.startAgent(ctx, i); err != nil {
		return err
	}
	return s.Until(ctx, deploy.AgentOf(Hosts[i])+" to catch up", func() (bool, error) {
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
