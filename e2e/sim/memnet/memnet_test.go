package memnet

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// pair is a connection over a network with so small a buffer.
func pair(t *testing.T, buffer int) (client, server net.Conn) {
	t.Helper()
	n := New(buffer)
	l, err := n.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	accepted := make(chan net.Conn)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	client, err = n.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return client, <-accepted
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	client, server := pair(t, 7)
	sent := bytes.Repeat([]byte("0123456789"), 1000)
	go func() {
		_, _ = client.Write(sent)
		_ = client.Close()
	}()
	got, err := io.ReadAll(server)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("read %d bytes of %d: %v", len(got), len(sent), err)
	}
	if _, err := server.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write to an end that was closed: %v", err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read of an end that was closed: %v", err)
	}
	if _, err := client.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write of an end that was closed: %v", err)
	}
}

func TestAWriterWaitsForItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pair(t, 10)
		written := 0
		go func() {
			for {
				n, err := client.Write([]byte("abc"))
				written += n
				if err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if written != 9 {
			t.Errorf("%d bytes fitted", written)
		}
		_, _ = server.Read(make([]byte, 5))
		synctest.Wait()
		if written != 15 {
			t.Errorf("%d bytes after a read of 5", written)
		}
		_ = server.Close()
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pair(t, 1)
		start := time.Now()
		_ = server.SetReadDeadline(start.Add(time.Hour))
		_ = server.SetReadDeadline(start.Add(time.Second)) // replaces the first
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		_ = server.SetReadDeadline(time.Time{})
		go func() {
			time.Sleep(time.Hour)
			_, _ = client.Write([]byte("x"))
		}()
		if n, err := server.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("without a deadline: %d, %v", n, err)
		}
		_ = client.SetWriteDeadline(time.Now().Add(time.Second))
		if n, err := client.Write([]byte("xy")); n != 1 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %d, %v", n, err)
		}
		_, _ = client.Close(), server.Close()
	})
}

func TestAPortIsOpenWhileSomebodyListens(t *testing.T) {
	n := New(1)
	l, err := n.Listen("tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen("tcp", "127.0.0.1:80"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a second listener: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := n.DialContext(ctx, "tcp", "127.0.0.1:80"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("nobody accepts: %v", err)
	}
	_, _ = l.Close(), l.Close()
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept of a closed listener: %v", err)
	}
	if _, err := n.DialContext(t.Context(), "tcp", "127.0.0.1:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err := n.Listen("tcp", "127.0.0.1:80"); err != nil {
		t.Errorf("the port again: %v", err)
	}
}

func TestHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(100)
		l, _ := n.Listen("tcp", "127.0.0.1:0")
		text := strings.Repeat("long ", 1000)
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Minute)
			_, _ = io.WriteString(w, text)
		})}
		go func() { _ = srv.Serve(l) }()
		client := &http.Client{Transport: &http.Transport{DialContext: n.DialContext}}
		for range 3 {
			resp, err := client.Get("http://" + l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(resp.Body); err != nil || string(got) != text {
				t.Errorf("read %d bytes: %v", len(got), err)
			}
			_ = resp.Body.Close()
		}
		_ = srv.Close()
	})
}
