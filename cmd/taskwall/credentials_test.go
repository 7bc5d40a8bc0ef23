package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
)

// The secrets come from files, whose last line break is none of theirs.
func TestCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(" s3cret \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want login
	}{
		{nil, login{}},
		{[]string{"--mesos-user=ann", "--mesos-password-file=" + file}, login{user: "ann", password: " s3cret "}},
		{[]string{"--mesos-token-file=" + file, "--marathon-user=bob"}, login{token: " s3cret "}},
	} {
		f := pflag.NewFlagSet("", pflag.ContinueOnError)
		sourceFlags(f)
		if err := f.Parse(tt.args); err != nil {
			t.Fatal(err)
		}
		if got, err := credentials(f, "mesos"); err != nil || got != tt.want {
			t.Errorf("%q: %+v, %v", tt.args, got, err)
		}
	}
}
