package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

func joinToken(ctx context.Context, args []string, out, log io.Writer) error {
	if len(args) == 0 || args[0] != "create" {
		return usage("join-token create")
	}
	f := flags("join-token create", log)
	c := adminFlags(f)
	ttl := f.Duration("ttl", time.Hour, "how long the token may be used")
	if _, err := parse(f, args[1:]); err != nil {
		return err
	}
	var made struct {
		Token   string `json:"token"`
		Command string `json:"command"`
	}
	if done, err := c.call(ctx, http.MethodPost, "/admin/v1/join-tokens", map[string]string{"ttl": ttl.String()}, &made, out); done || err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n\nOne node may join with it, within %v; put the address of its machine for IP:\n  %s\n", made.Token, *ttl, made.Command)
	return nil
}

func user(ctx context.Context, args []string, out, log io.Writer) error {
	if len(args) == 0 {
		return usage("user add NAME | list")
	}
	f := flags("user "+args[0], log)
	c := adminFlags(f)
	switch args[0] {
	case "list":
		if _, err := parse(f, args[1:]); err != nil {
			return err
		}
		var v struct {
			Users []struct {
				ID          string    `json:"id"`
				DisplayName string    `json:"displayname"`
				Admin       bool      `json:"admin"`
				Created     time.Time `json:"created"`
			} `json:"users"`
		}
		if done, err := c.call(ctx, http.MethodGet, "/admin/v1/users", nil, &v, out); done || err != nil {
			return err
		}
		return table(out, func(w io.Writer) {
			fmt.Fprintln(w, "USER\tNAME\tADMIN\tSINCE")
			for _, u := range v.Users {
				fmt.Fprintf(w, "%s\t%s\t%t\t%s\n", u.ID, dash(u.DisplayName), u.Admin, u.Created.Local().Format(time.DateTime))
			}
		})
	case "add":
		display := f.String("display-name", "", "the `NAME` others see")
		admin := f.Bool("administrator", false, "may administer accounts")
		operands, err := parse(f, args[1:], "NAME")
		if err != nil {
			return err
		}
		// The password comes from the standard input: a command line can be
		// read by everybody on the machine.
		fmt.Fprint(log, "Password: ")
		line, err := bufio.NewReader(os.Stdin).ReadString('\n')
		if err != nil && line == "" {
			return fmt.Errorf("no password on the standard input: %w", err)
		}
		_, err = c.call(ctx, http.MethodPost, "/admin/v1/users", map[string]any{
			"id": operands[0], "displayname": *display, "admin": *admin, "password": strings.TrimRight(line, "\r\n"),
		}, nil, out)
		return err
	default:
		return usage("user %q: add NAME or list", args[0])
	}
}
