package main

import (
	"context"
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

// reloadUsers reads the users file of the embedded server, and its certificates,
// again: hosts and people come and go, certificates end, and the log goes on. A
// file that is wrong changes nothing.
func reloadUsers(server *bus.Server, file string, log *slog.Logger) {
	users, err := usersOf(file)
	if err == nil {
		err = server.SetUsers(users)
	}
	if err != nil {
		log.Error("the users and certificates of the message bus stay as they were", "error", err)
		return
	}
	if users == nil {
		log.Info("certificates of the message bus read again; users are not told apart, since --nats-users was not given")
		return
	}
	log.Info("users and certificates of the message bus read again", "file", file, "agents", len(users.Agents))
}

// usersOf are those of the file, nil if there is none.
func usersOf(file string) (*bus.Users, error) {
	if file == "" {
		return nil, nil
	}
	return bus.LoadUsers(file)
}
