package main

import (
	"fmt"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/taskwall/taskwall/agent"
)

func agentCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Wire the tasks of this host as the controller says",
		Long: `Run on every Mesos host, as root: take this host's work items from NATS, attach
tasks when Mesos calls the CNI plugin taskwall-cni, and program the firewall and
the routes: static ones, or, where the controller says so, those that it learns by
BGP (docs/agent.md).

It knows only NATS, its settings and the Mesos agent beside it. When NATS or the
controller are away, what is in the kernel stays in force.`,
		Example: `  taskwall agent --nats-url nats://10.0.0.2:4222 --nats-nkey /etc/taskwall/agent.nk
  taskwall agent --host node-7 --address 10.0.1.7 --nats-url nats://10.0.0.2:4222`,
		Args: cobra.NoArgs,
		RunE: untilStopped(runAgent),
	}
	f := cmd.Flags()
	hostname, _ := os.Hostname()
	f.String("host", hostname, "this host's `name`: the hostname of the Mesos agent beside it")
	f.String("address", "", "this host's own `IP` address, by which other hosts reach its tasks; default: what Mesos says")
	f.String("mesos-agent", "http://127.0.0.1:5051", "`URL` of the Mesos agent beside it")
	f.String("mesos-user", "", "principal for the Mesos agent, with --mesos-password-file")
	f.String("mesos-password-file", "", "`file` with its password")
	f.String("mesos-ca", "", "`file` with the certificates that may have signed the Mesos agent's")
	f.String("socket", "", "unix `socket` on which the CNI plugin finds the agent (default /run/taskwall/agent.sock)")
	f.String("docker-socket", "/var/run/docker.sock", "unix `socket` of the Docker daemon, for tasks of the Docker containerizer")
	f.String("state-dir", "/var/lib/taskwall/agent", "`directory` that keeps the last state across restarts")
	f.StringSlice("networks", []string{"taskwall"}, "Mesos `network`s that are ours; a CNI call for another is refused")
	f.String("iptables", "auto", "which iptables to program: auto, nft or legacy")
	f.UintSlice("failsafe-ports", nil, "TCP `port`s of this host that its tasks can always reach (default: the Mesos agent's)")
	f.String("bgp-secrets", "", "`directory` with the TCP MD5 keys of BGP peers, a file for each, as the peers name them")
	f.Int("mtu", 0, "MTU of the tasks' interfaces; 0: the kernel's default")
	f.Duration("attach-timeout", 0, "how long an attach waits for its work item (default 10s)")
	f.Duration("check-every", 0, "time between two comparisons of the kernel with what it should hold (default 10s)")
	natsFlags(cmd)
	metricsFlag(cmd)
	return cmd
}

func runAgent(cmd *cobra.Command, _ []string) error {
	log, err := logger(cmd)
	if err != nil {
		return err
	}
	f := cmd.Flags()
	cfg := agent.Config{Version: version, Logger: log}
	cfg.Host, _ = f.GetString("host")
	cfg.Address, _ = f.GetString("address")
	cfg.MesosAgent, _ = f.GetString("mesos-agent")
	as, err := credentials(f, "mesos")
	if err != nil {
		return err
	}
	cfg.MesosUser, cfg.MesosPassword = as.user, as.password
	if cfg.MesosTLS, err = trust(f, "mesos"); err != nil {
		return err
	}
	cfg.Socket, _ = f.GetString("socket")
	cfg.DockerSocket, _ = f.GetString("docker-socket")
	cfg.StateDir, _ = f.GetString("state-dir")
	cfg.Networks, _ = f.GetStringSlice("networks")
	cfg.Backend, _ = f.GetString("iptables")
	cfg.BGPSecrets, _ = f.GetString("bgp-secrets")
	cfg.MTU, _ = f.GetInt("mtu")
	cfg.WaitTimeout, _ = f.GetDuration("attach-timeout")
	cfg.CheckEvery, _ = f.GetDuration("check-every")
	ports, _ := f.GetUintSlice("failsafe-ports")
	for _, p := range ports {
		if p == 0 || p > 65535 {
			return usageError{fmt.Errorf("--failsafe-ports: %d is no port", p)}
		}
		cfg.Failsafe = append(cfg.Failsafe, uint16(p))
	}
	if os.Geteuid() != 0 {
		return usageError{fmt.Errorf("the agent programs interfaces and firewalls: run it as root")}
	}
	options := natsOptions(cmd, "taskwall agent "+cfg.Host, log)
	options.Host = cfg.Host
	group, ctx := errgroup.WithContext(cmd.Context())
	mail := newMailbox(options, cfg.Host)
	a, err := agent.New(cfg, mail, mail)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(a.Metrics())
	group.Go(func() error { return serveMetrics(ctx, cmd, registry, log) })
	group.Go(func() error { return mail.run(ctx) })
	group.Go(func() error { return a.Run(ctx) })
	return group.Wait()
}
