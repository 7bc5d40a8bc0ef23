package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/bus"
	"github.com/taskwall/taskwall/scheduler/controller"
)

// natsFlags adds the settings of a connection to NATS.
func natsFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSlice("nats-url", []string{"nats://127.0.0.1:4222"}, "`URL`s of the NATS servers; several are separated by commas")
	f.String("nats-nkey", "", "`file` with the seed of this user's nkey")
	f.String("nats-creds", "", "NATS .creds `file` of this user, instead of an nkey")
	f.String("nats-ca", "", "`file` with the certificates that may have signed the servers'; turns on TLS")
	f.String("nats-cert", "", "`file` with this client's certificate, if the servers ask for one")
	f.String("nats-key", "", "`file` with the key of --nats-cert")
}

// natsOptions are the options that the flags ask for.
func natsOptions(cmd *cobra.Command, name string, log *slog.Logger) bus.Options {
	f := cmd.Flags()
	o := bus.Options{Name: name, Logger: log}
	o.URLs, _ = f.GetStringSlice("nats-url")
	o.NKeyFile, _ = f.GetString("nats-nkey")
	o.CredsFile, _ = f.GetString("nats-creds")
	ca, _ := f.GetString("nats-ca")
	cert, _ := f.GetString("nats-cert")
	key, _ := f.GetString("nats-key")
	if ca != "" || cert != "" {
		o.TLS = &bus.TLSFiles{CA: ca, Cert: cert, Key: key}
	}
	return o
}

// connect connects a command that a person waits for and that asks the
// controller: an operator's or a viewer's key will do.
func connect(cmd *cobra.Command, name string) (*bus.Conn, error) {
	return connectBy(bus.Connect, cmd, name)
}

// connectReader is connect for a command that reads the streams: the
// auditor's key will do.
func connectReader(cmd *cobra.Command, name string) (*bus.Conn, error) {
	return connectBy(bus.ConnectReader, cmd, name)
}

func connectBy(dial func(context.Context, bus.Options) (*bus.Conn, error), cmd *cobra.Command, name string) (*bus.Conn, error) {
	o := natsOptions(cmd, name, nil)
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), patience, fmt.Errorf("no answer within %s", patience))
	defer cancel()
	conn, err := dial(ctx, o)
	switch {
	case errors.Is(err, bus.ErrDenied):
		return nil, err
	case err != nil && cmd.Context().Err() != nil:
		return nil, cmd.Context().Err() // nobody waits any more
	case err != nil && ctx.Err() == nil: // a file of a key or certificate: nothing was tried
		return nil, usageError{err}
	case errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked):
		return nil, fmt.Errorf("the NATS server at %s does not let this user in: %w; is the key right, and among the server's users?", strings.Join(o.URLs, ", "), err)
	case err != nil:
		return nil, fmt.Errorf("no NATS server at %s: %w; is --nats-url right?", strings.Join(o.URLs, ", "), err)
	}
	return conn, nil
}

// patience is how long a person waits for the controller's answer.
const patience = 10 * time.Second

// ask asks the leading controller one question, for a person who waits.
func ask[Answer any](cmd *cobra.Command, name, subject string, question any) (Answer, error) {
	var none Answer
	if _, err := wantsJSON(cmd); err != nil {
		return none, err
	}
	conn, err := connect(cmd, name)
	if err != nil {
		return none, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	return controller.Call[Answer](ctx, conn, subject, question)
}
