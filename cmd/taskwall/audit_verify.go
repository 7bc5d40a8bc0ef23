package main

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/taskwall/taskwall/events/eventlog"
	"github.com/taskwall/taskwall/scheduler/proof"
)

func verifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare the log, what was published and what the hosts say that they applied",
		Long: `Read the log from its first record and check its chain and its signed
checkpoints. Fold it again, and compare every work item that follows from it with
the one that was published. Add up what was published to each host, and compare
that picture with the digest of what the host said that it holds. Compare what
hosts say in the log with their reports.

Listed are each gap and difference with its place; what a host could not apply;
items that waited long for their answer, hosts that had work and said nothing,
drift that was found and mended, each with how long it lasted. Those marked with
! are problems. What was mended or made up for is listed without.

Checkpoints prove something only with keys that you trust: give the controllers'
public keys with --trust. Without, only the chain is checked, which whoever can
write to NATS could write anew as a whole.

A log that was cut off together with its last checkpoints is whole in itself. Keep
checkpoints elsewhere (taskwall audit checkpoint), and give them with --expect.

Exit status 0 when there are no problems, 1 when there are.`,
		Example: `  taskwall audit verify --trust checkpoint.pub
  taskwall audit verify --trust checkpoint.pub --from 2026-02-01 --to 2026-03-01 --resume verify.state`,
		Args: cobra.NoArgs,
		RunE: runVerify,
	}
	f := cmd.Flags()
	periodFlags(cmd)
	f.Duration("late", proof.DefaultLate, "how long an item may wait for its answer before it is listed")
	f.String("expect", "", "`file` with checkpoints that were kept elsewhere (taskwall audit checkpoint), which the log must hold")
	f.String("resume", "", "`file` to write down in how far it came when it is interrupted, and to go on from")
	historyFlags(cmd)
	outputFlag(cmd)
	return cmd
}

func runVerify(cmd *cobra.Command, _ []string) error {
	asJSON, err := wantsJSON(cmd)
	if err != nil {
		return err
	}
	trust, err := trusted(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	src, done, err := openHistory(cmd)
	if err != nil {
		return err
	}
	defer done()
	src.Trust() // a log without its beginning may have no signed snapshot: the report says what it began with
	from, to, err := period(cmd, src)
	if err != nil {
		return err
	}
	shown := &progress{w: cmd.ErrOrStderr()}
	late, _ := cmd.Flags().GetDuration("late")
	kept, _ := cmd.Flags().GetString("expect")
	expect, err := expected(kept, trust)
	if err != nil {
		return err
	}
	v, err := proof.New(ctx, src, proof.Options{
		From: from, To: to, Late: late, Now: nowOf(cmd), Expect: expect,
		Progress: func(p proof.Progress) {
			shown.say("record %d, of %s", p.Last, p.Time.UTC().Format(time.RFC3339))
		},
	}, trust...)
	if err != nil {
		return err
	}
	file, _ := cmd.Flags().GetString("resume")
	if err := resume(file, v); err != nil {
		return err
	}
	report, err := v.Run(ctx)
	shown.end()
	if ctx.Err() != nil {
		return interrupted(file, v)
	}
	if err != nil {
		return err
	}
	if file != "" {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return reply(cmd, asJSON, report, !report.OK(), report.WriteText)
}

// resume brings a verification to where an earlier one was interrupted.
func resume(file string, v *proof.Verification) error {
	if file == "" {
		return nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return fmt.Errorf("going on from %s: %w", file, err)
	}
	return nil
}

// interrupted writes down how far a verification has come. It is not done:
// that must not look like a yes.
func interrupted(file string, v *proof.Verification) error {
	if file == "" {
		return errors.New("interrupted; with --resume FILE it could go on from here")
	}
	data, err := json.Marshal(v)
	if err == nil {
		err = writeWhole(file, data)
	}
	if err != nil {
		return fmt.Errorf("interrupted, and could not write down how far it came: %w", err)
	}
	return fmt.Errorf("interrupted; run it again with --resume %s to go on", file)
}

// writeWhole writes a file that is there whole or not at all.
func writeWhole(file string, data []byte) error {
	next := file + ".new"
	if err := os.WriteFile(next, data, 0o600); err != nil {
		return err
	}
	return os.Rename(next, file)
}

func trustFlag(cmd *cobra.Command) {
	cmd.Flags().StringSlice("trust", nil, "`file`s with the public keys whose checkpoints are believed (PEM)")
}

func trusted(cmd *cobra.Command) ([]ed25519.PublicKey, error) { return publicKeys(cmd, "trust") }

// publicKeys are those in the files that a flag names.
func publicKeys(cmd *cobra.Command, flag string) ([]ed25519.PublicKey, error) {
	files, _ := cmd.Flags().GetStringSlice(flag)
	var all []ed25519.PublicKey
	for _, file := range files {
		keys, err := eventlog.ReadPublicKeys(file)
		if err != nil {
			return nil, err
		}
		all = append(all, keys...)
	}
	return all, nil
}

// progress tells now and then how far something has come.
type progress struct {
	w    io.Writer
	last time.Time
	told bool
}

const progressPause = time.Second

func (p *progress) say(format string, args ...any) {
	if now := time.Now(); now.Sub(p.last) >= progressPause {
		first := p.last.IsZero()
		if p.last = now; first {
			return // it may well be done at once
		}
		p.told = true
		fmt.Fprintf(p.w, "\r\x1b[K"+format, args...)
	}
}

func (p *progress) end() {
	if p.told {
		fmt.Fprintln(p.w)
	}
}

func keyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "key FILE",
		Short: "Print the public half of the key that signs checkpoints",
		Long: `Print the public half of a checkpoint key, with the name by which checkpoints
call it. What it prints is a file for --trust.

The key is made by openssl:
  openssl genpkey -algorithm ed25519 -out checkpoint.key`,
		Example: "  taskwall audit key checkpoint.key > checkpoint.pub",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var keys []ed25519.PublicKey
			private, err := eventlog.ReadPrivateKey(args[0])
			if err == nil {
				keys = append(keys, private.Public().(ed25519.PublicKey))
			} else if public, errPublic := eventlog.ReadPublicKeys(args[0]); errPublic == nil {
				keys, err = public, nil
			}
			if err != nil {
				return err
			}
			for _, key := range keys {
				text, err := eventlog.MarshalPublicKey(key)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "Checkpoint key %s\n%s", eventlog.KeyName(key), text)
			}
			return nil
		},
	}
}
