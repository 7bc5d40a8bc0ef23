package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/taskwall/taskwall/events/bus"
)

// onHangup passes on each SIGHUP until ctx ends.
func onHangup(ctx context.Context, do func()) error {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGHUP)
	defer signal.Stop(asked)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-asked:
			do()
		}
	}
}

// reloadUsers reads the users file of the embedded server again: hosts and
// people come and go, and the log goes on. A file that is wrong changes nothing.
func reloadUsers(server *bus.Server, file string, log *slog.Logger) {
	users, err := usersOf(file)
	if err == nil {
		err = server.SetUsers(users)
	}
	if err != nil {
		log.Error("the users of the message bus stay as they were", "error", err)
		return
	}
	log.Info("users of the message bus read again", "file", file, "agents", len(users.Agents))
}

func usersOf(file string) (*bus.Users, error) {
	if file == "" {
		return nil, errors.New("no users file to read again: --nats-users was not given")
	}
	return bus.LoadUsers(file)
}
