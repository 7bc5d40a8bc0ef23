package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/taskwall/taskwall/events"
	"github.com/taskwall/taskwall/events/marathon"
	"github.com/taskwall/taskwall/events/mesos"
	"github.com/taskwall/taskwall/scheduler/controller"
	"github.com/taskwall/taskwall/scheduler/placement"
)

// sourceMaker makes the sources of events; see controller.Config.
type sourceMaker = func(controller.Sink, *events.Cluster, time.Time) ([]controller.Source, error)

func sourceFlags(f *pflag.FlagSet) {
	f.StringSlice("mesos", nil, "`URL`s of the Mesos masters: all members, any one leads to the leader")
	f.String("mesos-user", "", "principal for Mesos, with --mesos-password-file")
	f.String("mesos-password-file", "", "`file` with its password")
	f.String("mesos-token-file", "", "`file` with a token for Mesos behind DC/OS, in place of a user")
	f.String("mesos-ca", "", "`file` with the certificates that may have signed the masters'")
	f.String("mesos-encoding", "protobuf", "protobuf or json")
	f.StringSlice("marathon", nil, "`URL`s of the Marathon members; none: a cluster without Marathon")
	f.String("marathon-user", "", "user for Marathon, with --marathon-password-file")
	f.String("marathon-password-file", "", "`file` with its password")
	f.String("marathon-token-file", "", "`file` with a token for Marathon behind DC/OS, in place of a user")
	f.String("marathon-ca", "", "`file` with the certificates that may have signed Marathon's")
	placementFlags(f)
}

// sourceConfig checks the settings of the sources and returns how to make them.
func sourceConfig(cmd *cobra.Command, log *slog.Logger) (sourceMaker, error) {
	f := cmd.Flags()
	m := mesos.Config{Logger: log.With("source", "mesos")}
	m.Masters, _ = f.GetStringSlice("mesos")
	if len(m.Masters) == 0 {
		return nil, usageError{errors.New("name the Mesos masters: --mesos http://HOST:5050")}
	}
	as, err := credentials(f, "mesos")
	if err != nil {
		return nil, err
	}
	m.User, m.Password, m.Token = as.user, as.password, as.token
	if m.TLS, err = trust(f, "mesos"); err != nil {
		return nil, err
	}
	switch encoding, _ := f.GetString("mesos-encoding"); encoding {
	case "protobuf":
		m.Encoding = mesos.Protobuf
	case "json":
		m.Encoding = mesos.JSON
	default:
		return nil, usageError{fmt.Errorf("--mesos-encoding %q: use protobuf or json", encoding)}
	}
	a := marathon.Config{Logger: log.With("source", "marathon")}
	a.Members, _ = f.GetStringSlice("marathon")
	if as, err = credentials(f, "marathon"); err != nil {
		return nil, err
	}
	a.User, a.Password, a.Token = as.user, as.password, as.token
	if a.TLS, err = trust(f, "marathon"); err != nil {
		return nil, err
	}
	place, err := placementConfig(f, &m)
	if err != nil {
		return nil, err
	}
	made := func(sink controller.Sink, known *events.Cluster, since time.Time) ([]controller.Source, error) {
		m := m
		m.Since = since // what began and ended since then, unseen, the master still remembers
		registered := newFrameworks(known)
		run := newRunning(known)
		ms, err := mesos.New(m, noting(sink, registered.appended, run.appended), known)
		if err != nil {
			return nil, usageError{err}
		}
		sources := []controller.Source{mesosSource{ms}}
		if len(a.Members) > 0 {
			a := a
			a.Active, a.Running = registered.isActive, run.of
			as, err := marathon.New(a, sink, known)
			if err != nil {
				return nil, usageError{err}
			}
			sources = append(sources, marathonSource{as})
		}
		if place != nil {
			c := *place
			c.Known = registered.all
			p, err := placement.New(c)
			if err != nil {
				return nil, usageError{err}
			}
			sources = append(sources, placementSource{p})
		}
		return sources, nil
	}
	// What is wrong with them must be told before this controller takes the lead.
	_, err = made(nil, &events.Cluster{}, time.Time{})
	return made, err
}

// noting is a sink that tells each of notes what another has appended.
func noting(sink controller.Sink, notes ...func([]events.Event)) controller.Sink {
	return func(ctx context.Context, evs ...events.Event) error {
		if err := sink(ctx, evs...); err != nil {
			return err
		}
		for _, note := range notes {
			note(evs)
		}
		return nil
	}
}

// login is a user with a password, or a token (only the controller has a flag for
// one), or nothing.
type login struct{ user, password, token string }

func credentials(f *pflag.FlagSet, of string) (l login, err error) {
	secret := func(what string) (text, file string) {
		if file, _ = f.GetString(of + "-" + what + "-file"); file == "" || err != nil {
			return "", file
		}
		b, e := os.ReadFile(file)
		if e != nil {
			err = usageError{fmt.Errorf("reading the %s for %s: %w", what, of, e)}
		}
		return strings.TrimRight(string(b), "\r\n"), file
	}
	var password, token string // their files
	l.user, _ = f.GetString(of + "-user")
	l.password, password = secret("password")
	l.token, token = secret("token")
	switch {
	case (l.user == "") != (password == ""):
		err = usageError{fmt.Errorf("--%s-user and --%s-password-file go together", of, of)}
	case token != "" && l.user != "":
		err = usageError{fmt.Errorf("--%s-token-file is in place of --%s-user", of, of)}
	case token != "" && l.token == "" && err == nil:
		err = usageError{fmt.Errorf("%s holds no token for %s", token, of)}
	}
	return l, err
}

func trust(f *pflag.FlagSet, of string) (*tls.Config, error) {
	file, _ := f.GetString(of + "-ca")
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError{fmt.Errorf("reading the certificates for %s: %w", of, err)}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, usageError{fmt.Errorf("%s holds no PEM certificate", file)}
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

type mesosSource struct{ s *mesos.Source }

func (m mesosSource) Run(ctx context.Context) error { return m.s.Run(ctx) }

func (m mesosSource) Status() controller.SourceStatus {
	st := m.s.Status()
	return controller.SourceStatus{Name: "mesos", Connected: st.Connected, Peer: st.Leader, Since: st.Since, Error: st.LastError, Trouble: mesosTrouble(st)}
}

// mesosTrouble says what the masters do not show, and which hosts cannot be told
// apart.
func mesosTrouble(st mesos.Status) (trouble []string) {
	if st.Hidden > 0 {
		trouble = append(trouble, fmt.Sprintf("on %d Mesos agents more runs than the master shows: known tasks keep their networks, others get none; "+
			"the principal must be allowed to view all frameworks, tasks, executors and roles", st.Hidden))
	}
	for _, name := range st.Shared {
		trouble = append(trouble, fmt.Sprintf("several Mesos agents have the hostname %s: they are one host, and only one of them gets networks for its tasks; "+
			"give each a --hostname of its own", name))
	}
	return trouble
}

type marathonSource struct{ s *marathon.Source }

func (m marathonSource) Run(ctx context.Context) error { return m.s.Run(ctx) }

func (m marathonSource) Status() controller.SourceStatus {
	st := m.s.Status()
	return controller.SourceStatus{Name: "marathon", Connected: st.Connected, Peer: st.Leader, Since: st.Since, Error: st.LastError, Trouble: marathonTrouble(st)}
}

// marathonTrouble says what Marathon does not show.
func marathonTrouble(st marathon.Status) []string {
	if st.Hidden == 0 {
		return nil
	}
	return []string{fmt.Sprintf("tasks run of %d apps that Marathon does not show (%s): may the user view all groups, apps and pods?",
		st.Hidden, strings.Join(st.HiddenApps, ", "))}
}
