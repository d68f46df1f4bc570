package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"sluice/conf"
)

// ctl asks the admin server of a running Sluice. Each thing that can be asked for is a command in a file of its own,
// ctl<noun>.go, which adds itself in ctlCommand, asks with ctl.get and prints what ctl.output says.
type ctl struct {
	admin  string // as it was given: host:port, or its URL
	output string // one of ctlOutputs
	client http.Client
}

var ctlOutputs = []string{"table", "json"}

const (
	// ctlTimeout bounds a question and its answer. The admin server answers in milliseconds, or, while a loop is
	// stuck, in 5 s and with what it has; nobody at a terminal waits longer.
	ctlTimeout = 5 * time.Second
	// ctlMaxAnswer is far above the answer for a thousand nodes, and bounds what something else may send.
	ctlMaxAnswer = 64 << 20
)

func newCtl() *ctl {
	return &ctl{client: http.Client{
		Timeout: ctlTimeout,
		// Neither HTTP_PROXY nor a redirect leads to an admin server, and nothing is kept open between questions.
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func ctlCommand() *cobra.Command {
	c := newCtl()
	cmd := &cobra.Command{
		Use:   "ctl",
		Short: "Ask a running Sluice what it knows",
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains(ctlOutputs, c.output) {
				return fmt.Errorf("--output %q is not known; it is one of %s", c.output, strings.Join(ctlOutputs, ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return fmt.Errorf("ctl has no command %q; see sluice ctl --help", args[0])
		},
	}
	cmd.PersistentFlags().StringVar(&c.admin, "admin", cmp.Or(os.Getenv("SLUICE_PROXY_ADMIN"), conf.Default().Proxy.Admin),
		"HOST:PORT of the admin server (or SLUICE_PROXY_ADMIN)")
	cmd.PersistentFlags().StringVarP(&c.output, "output", "o", ctlOutputs[0], "table for people, json for programs")
	cmd.AddCommand(c.statusCommand(), c.groupsCommand(), c.eventsCommand(), c.slowlogCommand(), c.migrationsCommand(), c.proxiesCommand(), c.topologyCommand(),
		c.moveCommand(), c.movesCommand(), c.rebalanceCommand(), c.groupCommand())
	return cmd
}

// asJSON says that programs read the output.
func (c *ctl) asJSON() bool { return c.output == "json" }

// addr is host:port to connect to: a configuration may say ":6381" or "0.0.0.0:6381", which names no host.
func (c *ctl) addr() (string, error) {
	given := strings.TrimSuffix(strings.TrimPrefix(c.admin, "http://"), "/")
	host, port, err := net.SplitHostPort(given)
	if err != nil || port == "" || port == "0" {
		return "", fmt.Errorf("--admin %q is not HOST:PORT, such as %s", c.admin, conf.Default().Proxy.Admin)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// get asks for a path of the admin server and reads the answer into v. It returns the answer as it came.
func (c *ctl) get(ctx context.Context, path string, query url.Values, v any) ([]byte, error) {
	return c.ask(ctx, http.MethodGet, path, query, v)
}

// ofPools is the query for what is known of one pool, or of all when pool is "".
func ofPools(pool string) url.Values {
	query := url.Values{}
	if pool != "" {
		query.Set("pool", pool)
	}
	return query
}

// showPools asks for what is known of each pool and prints it; with --output json as it came.
func showPools[T any](c *ctl, cmd *cobra.Command, path string, query url.Values, print func(out io.Writer, pools []T) error) error {
	var list struct{ Pools []T }
	body, err := c.get(cmd.Context(), path, query, &list)
	if err != nil {
		return err
	}
	if list.Pools == nil {
		return errors.New("the answer has no pools in it; " + notSluice)
	}
	if c.asJSON() {
		_, err := cmd.OutOrStdout().Write(body)
		return err
	}
	return print(cmd.OutOrStdout(), list.Pools)
}

// ask is get with any method.
func (c *ctl) ask(ctx context.Context, method, path string, query url.Values, v any) ([]byte, error) {
	addr, err := c.addr()
	if err != nil {
		return nil, err
	}
	at := url.URL{Scheme: "http", Host: addr, Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("--admin %q: %w", c.admin, err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, unanswered(method, &at, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, ctlMaxAnswer+1))
	if err != nil {
		return nil, unanswered(method, &at, err)
	}
	if err := checkAnswer(resp, body); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, &at, err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("%s %s: the answer can't be read: %w; %s", method, &at, err, notSluice)
	}
	return body, nil
}

// unanswered says what was tried, why there is no answer, and what to do.
func unanswered(method string, at *url.URL, err error) error {
	var timeout net.Error
	var outer *url.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		err = fmt.Errorf("no answer within %s", ctlTimeout)
	case errors.Is(err, io.EOF):
		err = errors.New("the connection was closed without an answer")
	case errors.As(err, &outer):
		err = outer.Err // Without the method and the address once more.
	}
	return fmt.Errorf("%s %s: %w; is Sluice running, and is its [proxy] admin address %s? Name another with --admin",
		method, at, err, at.Host)
}

// checkAnswer refuses what an admin server would not send, and says why one refused the request.
func checkAnswer(resp *http.Response, body []byte) error {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case (resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusForbidden) && kind == "text/plain":
		return errors.New(firstLine(body))
	case resp.StatusCode == http.StatusNotFound:
		return errors.New("404: it does not know this; " + orOlder)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s (%s); %s", resp.Status, cmp.Or(firstLine(body), "it says no more"), notSluice)
	case kind != "application/json":
		return fmt.Errorf("the answer is %s and not JSON; %s", cmp.Or(kind, "of no known type"), notSluice)
	case len(body) > ctlMaxAnswer:
		return fmt.Errorf("the answer is longer than %d MiB; %s", ctlMaxAnswer>>20, notSluice)
	}
	return nil
}

// What to do when something answers, but not as the admin server of this version does.
const (
	notSluice = "is that the admin server of a Sluice? Name another address with --admin"
	orOlder   = "is that the admin server of a Sluice, and not an older one? Name another address with --admin"
)

// firstLine is as much of an answer for people as fits into an error.
func firstLine(body []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	if runes := []rune(line); len(runes) > 200 {
		line = string(runes[:200]) + "…"
	}
	return strings.Map(printable, line)
}

// cell is text in a table: "-" when there is none. What servers say may be in it, so nothing that moves the cursor
// of a terminal, or a column, gets through.
func cell(text string) string {
	return cmp.Or(strings.Map(printable, text), "-")
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return ' '
}
