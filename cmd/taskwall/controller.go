package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/backoff"
	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/events/lease"
	"github.com/taskwall/taskwall/events/work"
	"github.com/taskwall/taskwall/scheduler/controller"
	"github.com/taskwall/taskwall/scheduler/proof"
)

func controllerCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "controller",
		Short: "Follow the cluster and tell the hosts what to wire",
		Long: `Follow Mesos and Marathon, keep the log, and publish to each host what it must do.

It carries its own NATS server with JetStream unless --nats-url names external
ones. Several controllers may run on an external NATS: one leads, the others
fold the log along and take over within seconds.

Mesos is the truth for tasks and hosts, and is needed. Marathon adds apps and
deployments; without --marathon a policy cannot select by taskwall/app.`,
		Example: `  taskwall controller --mesos http://10.0.0.3:5050,http://10.0.0.4:5050 \
      --marathon http://10.0.0.3:8080 --nats-listen 10.0.0.2:4222 --nats-users users.yaml --nats-nkey controller.nk
  taskwall controller --mesos http://10.0.0.3:5050 --nats-url nats://nats-1:4222,nats://nats-2:4222 --replicas 3`,
		Args: cobra.NoArgs,
		RunE: untilStopped(runController),
	}
	f := cmd.Flags()
	sourceFlags(f)
	natsFlags(cmd)
	f.String("data-dir", "/var/lib/taskwall", "`directory` of the embedded NATS server's streams")
	f.String("nats-listen", "127.0.0.1:4222", "`address` on which the embedded NATS server listens")
	f.String("nats-users", "", "YAML `file` with the public keys of all who may connect; see docs/nats.md")
	f.String("nats-server-cert", "", "`file` with the embedded server's certificate; turns on TLS")
	f.String("nats-server-key", "", "`file` with the key of --nats-server-cert")
	f.String("nats-server-ca", "", "`file` with the certificates that must have signed the clients'")
	f.Bool("insecure-nats", false, "let the embedded server listen beyond loopback without --nats-users: for trials only")
	f.Int("replicas", 1, "copies of each stream in an external NATS cluster: 1, 3 or 5")
	f.Duration("retention", bus.DefaultMaxAge, "how long the log and the work items are kept")
	f.Int64("retention-bytes", 0, "bound on the size of each stream in bytes; 0: none. The oldest goes first")
	f.StringSlice("checkpoint-trust", nil, "PEM `file`s with the public keys of the other controllers, or of earlier keys, whose snapshots are believed")
	f.String("checkpoint-key", "", "PEM `file` with the Ed25519 key that signs the log's checkpoints; see docs/nats.md")
	f.String("cluster", "", "`name` of the Mesos cluster: once the log has one, no controller of another may lead")
	f.Duration("lease", lease.DefaultTTL, "how long a leader leads that is not heard of, the same for all controllers; NATS must store within half of it")
	f.Uint64("accept-lost-log", 0, "give up the `record`s of the log up to this one, when it has lost them; see docs/nats.md")
	f.Duration("checkpoint-every", 10*time.Minute, "how often the log's end is signed, if it has grown")
	d := events.DefaultSettings()
	f.StringSlice("networks", d.Networks, "Mesos `network`s whose tasks get an address")
	f.String("environment-label", d.EnvironmentLabel, "`label` that names a task's environment")
	f.Duration("address-hold", d.Hold, "how long a released address is kept from reuse")
	f.Uint64("snapshot-every", 10_000, "log entries between two snapshots of the fold, at least; more in a large cluster")
	metricsFlag(cmd)
	return cmd
}

func runController(cmd *cobra.Command, _ []string) error {
	log, err := logger(cmd)
	if err != nil {
		return err
	}
	sources, err := sourceConfig(cmd, log)
	if err != nil {
		return err
	}
	term, err := logOptions(cmd, log)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	options := natsOptions(cmd, "taskwall controller", log)
	var server *bus.Server // embedded, unless NATS is elsewhere
	if !cmd.Flags().Changed("nats-url") {
		if server, err = embeddedServer(cmd, log); err != nil {
			return err
		}
		defer server.Shutdown()
		options.Server = server
		log.Info("message bus listens", "url", server.URL())
	}
	conn, err := bus.Connect(ctx, options)
	if err != nil {
		return err
	}
	defer conn.Close()
	history, err := openLog(ctx, cmd, conn, term)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	shown := &sourceMetrics{}
	registry.MustRegister(shown)
	sources = shown.watch(sources)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serveMetrics(ctx, cmd, registry, log) })
	if server != nil {
		file, _ := cmd.Flags().GetString("nats-users")
		group.Go(func() error { return onHangup(ctx, func() { reloadUsers(server, file, log) }) })
	}
	group.Go(func() error { return work.ServeCatchup(ctx, conn, log) })
	c := controller.New(controllerConfig(cmd, conn, history, sources, log))
	registry.MustRegister(c.Metrics())
	leads := c.Leads
	shown.leads.Store(&leads)
	group.Go(func() error { return c.Follow(ctx) })
	group.Go(func() error {
		return contend(ctx, cmd, conn, history, c, func(ctx context.Context, epoch uint64) error {
			term := term
			term.Epoch = epoch
			return lead(ctx, conn, c, term)
		}, log)
	})
	return group.Wait()
}

// contend leads whenever this controller holds the lease. A term that fails,
// because NATS is away or another controller took over, is not the end: what
// it could not do, the next term finds in the log and does.
func contend(ctx context.Context, cmd *cobra.Command, conn *bus.Conn, history *eventlog.Log, c *controller.Controller, term func(context.Context, uint64) error, log *slog.Logger) error {
	o := lease.Options{Name: name(), Logger: log}
	o.Replicas, _ = cmd.Flags().GetInt("replicas")
	o.TTL, _ = cmd.Flags().GetDuration("lease")
	pause := backoff.Backoff{Min: 500 * time.Millisecond, Max: 4 * time.Second}
	for {
		if err := c.CanLead(ctx); err != nil {
			return err
		}
		begin := time.Now()
		var leadership *lease.Lease
		var err error
		if o.After, err = lastEpoch(ctx, conn, history); err == nil {
			leadership, err = lease.New(ctx, conn.JS, "controller", o)
		}
		if err == nil {
			err = leadership.Run(ctx, term)
		}
		var usage usageError
		if ctx.Err() != nil || errors.As(err, &usage) {
			return err
		}
		if time.Since(begin) > time.Minute {
			pause.Reset()
		}
		log.Error("the term as leader failed; trying again", "error", err)
		if pause.Wait(ctx) != nil {
			return ctx.Err()
		}
	}
}

// lastEpoch is the latest that anything was written with.
func lastEpoch(ctx context.Context, conn *bus.Conn, history *eventlog.Log) (uint64, error) {
	logged, err := history.LastEpoch(ctx)
	if err != nil {
		return 0, err
	}
	claimed, err := work.LastEpoch(ctx, conn.JS)
	return max(logged, claimed), err
}

// name is how this controller is shown to people.
func name() string {
	hostname, _ := os.Hostname() // a name without it is good enough
	return fmt.Sprintf("%s/%d", hostname, os.Getpid())
}

// logOptions are those of the log that a leader writes.
func logOptions(cmd *cobra.Command, log *slog.Logger) (eventlog.Options, error) {
	o := eventlog.Options{Logger: log}
	o.CheckpointAfter, _ = cmd.Flags().GetDuration("checkpoint-every")
	if o.CheckpointAfter <= 0 {
		return o, usageError{fmt.Errorf("--checkpoint-every %s: must be more than zero", o.CheckpointAfter)}
	}
	age, _ := cmd.Flags().GetDuration("retention")
	size, _ := cmd.Flags().GetInt64("retention-bytes")
	if age < minRetention || size != 0 && size < minRetentionBytes {
		return o, usageError{fmt.Errorf("--retention %s, --retention-bytes %d: the log must hold more than what lies between two snapshots: "+
			"at least %s, and %d MiB if its size is bounded", age, size, minRetention, minRetentionBytes>>20)}
	}
	if ttl, _ := cmd.Flags().GetDuration("lease"); ttl < minLease || ttl > maxLease {
		return o, usageError{fmt.Errorf("--lease %s: must be %s to %s", ttl, minLease, maxLease)}
	}
	o.AcceptLost, _ = cmd.Flags().GetUint64("accept-lost-log")
	var err error
	if o.Trust, err = publicKeys(cmd, "checkpoint-trust"); err != nil {
		return o, usageError{err}
	}
	file, _ := cmd.Flags().GetString("checkpoint-key")
	if file == "" {
		log.Warn("the log is not signed: who can write to NATS could change the past unseen; give --checkpoint-key")
		return o, nil
	}
	if o.Key, err = eventlog.ReadPrivateKey(file); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

// The bounds of --lease. While none leads nothing new reaches the hosts.
const (
	minLease = time.Second
	maxLease = time.Minute
)

// The least that retention leaves: a controller that starts reads the log from
// the last snapshot on, and there is one at least every hour, or every
// --snapshot-every entries (of some 500 bytes each), or when there are as many
// entries as it has thousands of bytes.
const (
	minRetention      = 24 * time.Hour
	minRetentionBytes = proof.LeastLimit
)

// openLog opens the log to follow. It waits for a NATS that can hold the streams: an external one may still
// be electing its leaders.
func openLog(ctx context.Context, cmd *cobra.Command, conn *bus.Conn, o eventlog.Options) (*eventlog.Log, error) {
	f := cmd.Flags()
	age, _ := f.GetDuration("retention")
	size, _ := f.GetInt64("retention-bytes")
	replicas, _ := f.GetInt("replicas")
	said := false
	for {
		var history *eventlog.Log
		err := bus.EnsureStreams(ctx, conn.JS, bus.Retention{MaxAge: age, MaxBytes: size}, replicas)
		if err == nil {
			history, err = eventlog.Open(ctx, conn.JS, o)
		}
		if err == nil || ctx.Err() != nil {
			return history, err
		}
		if !said {
			o.Logger.Warn("the streams cannot be set up yet; trying again", "error", err)
			said = true
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func controllerConfig(cmd *cobra.Command, conn *bus.Conn, history *eventlog.Log, sources sourceMaker, log *slog.Logger) controller.Config {
	f := cmd.Flags()
	cfg := controller.Config{
		Name: name(), Log: history, Sources: sources, NATS: conn.NATS, Version: version, Logger: log,
		Reports: func(ctx context.Context, from work.From, fn func(context.Context, []work.Report) error) error {
			return work.FollowReports(ctx, conn.JS, "controller", from, fn, log)
		},
	}
	cfg.Stored = func(ctx context.Context) (uint64, map[string]uint64, error) { return work.LastStored(ctx, conn.JS) }
	var kept bus.Retention
	kept.MaxAge, _ = f.GetDuration("retention")
	kept.MaxBytes, _ = f.GetInt64("retention-bytes")
	replicas, _ := f.GetInt("replicas")
	cfg.Mend = func(ctx context.Context) ([]string, error) { return bus.MendStreams(ctx, conn.JS, kept, replicas) }
	cfg.Settings.Cluster, _ = f.GetString("cluster")
	cfg.Settings.Networks, _ = f.GetStringSlice("networks")
	cfg.Settings.EnvironmentLabel, _ = f.GetString("environment-label")
	cfg.Settings.Hold, _ = f.GetDuration("address-hold")
	cfg.CheckpointEvery, _ = f.GetDuration("checkpoint-every")
	cfg.SnapshotEvery, _ = f.GetUint64("snapshot-every")
	return cfg
}

// lead is one term as the leader.
func lead(ctx context.Context, conn *bus.Conn, c *controller.Controller, o eventlog.Options) error {
	// First the claim, then the last item, then the log: nobody else sends any
	// more, so the log must have what all that was sent followed from.
	begun := time.Now()
	publisher, err := work.NewPublisher(ctx, conn.JS, o.Epoch)
	if err != nil {
		return err
	}
	defer conn.OnReconnect(publisher.Doubt)()
	claimed := time.Now()
	if o.Caused, err = work.LastCause(ctx, conn.JS); err != nil {
		return err
	}
	history, err := eventlog.Open(ctx, conn.JS, o)
	if err != nil {
		return err
	}
	o.Logger.Info("took over", "epoch", o.Epoch, "claim_took", claimed.Sub(begun).Round(time.Millisecond), "log_took", time.Since(claimed).Round(time.Millisecond))
	err = c.Lead(ctx, controller.Term{Epoch: o.Epoch, Log: history, Signs: o.Key != nil, Publisher: publisher, Sent: publisher.Sent(), Recovered: history.Recovered()})
	if errors.Is(err, controller.ErrOtherCluster) {
		return usageError{err} // trying again would only take the lead from who should have it
	}
	return err
}

func embeddedServer(cmd *cobra.Command, log *slog.Logger) (*bus.Server, error) {
	f := cmd.Flags()
	o := bus.ServerOptions{}
	o.Listen, _ = f.GetString("nats-listen")
	host, _, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, usageError{fmt.Errorf("--nats-listen %q: write HOST:PORT", o.Listen)}
	}
	dir, _ := f.GetString("data-dir")
	o.Dir = filepath.Join(dir, "nats")
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of the streams: %w", err)
	}
	if file, _ := f.GetString("nats-users"); file != "" {
		users, err := bus.LoadUsers(file)
		if err != nil {
			return nil, usageError{err}
		}
		o.Users = users
	}
	cert, _ := f.GetString("nats-server-cert")
	if cert != "" {
		o.TLS = &bus.TLSFiles{Cert: cert}
		o.TLS.Key, _ = f.GetString("nats-server-key")
		o.TLS.CA, _ = f.GetString("nats-server-ca")
	}
	if insecure, _ := f.GetBool("insecure-nats"); o.Users == nil && !insecure && !isLoopback(host) {
		return nil, usageError{errors.New("--nats-listen " + o.Listen + " is open to others, who could then change every firewall: " +
			"give --nats-users, or --insecure-nats for a trial")}
	}
	return bus.StartServer(o, log)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
