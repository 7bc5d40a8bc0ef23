package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/bus"
)

func natsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "nats",
		Short: "Make users' keys, and say what each may do, for NATS servers of your own",
	}
	cmd.AddCommand(natsKeyCommand(), natsAccountsCommand())
	return cmd
}

func natsKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "key FILE",
		Short: "Make a key for one user",
		Long: `Make a key pair (an nkey, Ed25519) for one user of NATS. The secret half goes
into FILE, which only its owner can read and which is never overwritten; the
public half is printed, and belongs into the users file. Make each key where it
is used: then the secret need not travel.`,
		Example: `  taskwall nats key /etc/taskwall/agent.nk
  taskwall nats key --public /etc/taskwall/agent.nk`,
		Args: cobra.ExactArgs(1),
		RunE: runNATSKey,
	}
	cmd.Flags().Bool("public", false, "make nothing: print the public half of the key that is in FILE")
	return cmd
}

func runNATSKey(cmd *cobra.Command, args []string) error {
	file := args[0]
	if existing, _ := cmd.Flags().GetBool("public"); existing {
		public, err := bus.PublicKey(file)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), public)
		return nil
	}
	seed, public, err := bus.NewKey()
	if err != nil {
		return err
	}
	defer clear(seed)
	if err := writeSecret(file, append(seed, '\n')); err != nil {
		return fmt.Errorf("writing the key: %w", err)
	}
	fmt.Fprintln(cmd.OutOrStdout(), public)
	return nil
}

// writeSecret makes a file that only its owner can read, and leaves an
// existing one, or what could not be written whole, alone.
func writeSecret(file string, secret []byte) error {
	defer clear(secret)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already, and whoever uses it would be locked out; --public prints its public half", file)
	}
	if err != nil {
		return err
	}
	if _, err = f.Write(secret); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}

func natsAccountsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "accounts --users FILE",
		Short: "Print what each user may do, as configuration of a NATS server",
		Long: `Print the accounts and permissions of the users of FILE in the form of a
nats-server's configuration file: each agent reads its own host's work items and
writes its own host's reports, auditors read the streams, operators and viewers
ask the controller. Include it in the configuration of each server, and have the
servers reload it when the users change:

  include ./accounts.conf

With the embedded server give the users file to 'taskwall controller
--nats-users' instead.`,
		Example: "  taskwall nats accounts --users users.yaml > accounts.conf && nats-server --signal reload",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			file, _ := cmd.Flags().GetString("users")
			if file == "" {
				return usageError{errors.New("--users is missing: the file with the public keys of all who may connect; see docs/nats.md")}
			}
			users, err := bus.LoadUsers(file)
			if err != nil {
				return usageError{err}
			}
			text, err := bus.Accounts(users)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), text)
			return nil
		},
	}
	cmd.Flags().String("users", "", "YAML `file` with the public keys of all who may connect; see docs/nats.md")
	return cmd
}
