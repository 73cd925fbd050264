package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manCommand writes the manual page from the commands themselves; the packages
// ship it.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man", Short: "Print the manual page", Args: cobra.NoArgs, Hidden: true,
		RunE: func(c *cobra.Command, _ []string) error {
			return manPage(c.OutOrStdout(), c.Root())
		},
	}
}

func manPage(out io.Writer, root *cobra.Command) error {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH NOCTURNE 1 \"\" \"nocturne %s\" \"User Commands\"\n", roff(version))
	fmt.Fprintf(&b, ".SH NAME\nnocturne \\- %s\n", roff(root.Short))
	b.WriteString(".SH SYNOPSIS\n.B nocturne\n.I command\n[\\fIflags\\fR]\n.SH COMMANDS\n")
	manCommands(&b, root)
	b.WriteString(".SH FILES\n.TP\n.I /etc/nocturne/nocturne.yaml\nThe configuration of the service. `nocturne check \\-c FILE` names its faults.\n" +
		".TP\n.I /var/lib/nocturne\nEverything that the service stores.\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func manCommands(b *strings.Builder, parent *cobra.Command) {
	for _, c := range parent.Commands() {
		if !c.IsAvailableCommand() {
			continue
		}
		if c.Runnable() {
			fmt.Fprintf(b, ".SS %s\n%s.\n", roff(c.CommandPath()+strings.TrimPrefix(c.Use, c.Name())), roff(c.Short))
			if c.Long != "" {
				fmt.Fprintf(b, ".PP\n%s\n", roff(c.Long))
			}
			c.NonInheritedFlags().VisitAll(func(f *pflag.Flag) { manFlag(b, f) })
			c.InheritedFlags().VisitAll(func(f *pflag.Flag) { manFlag(b, f) })
		}
		manCommands(b, c)
	}
}

func manFlag(b *strings.Builder, f *pflag.Flag) {
	if f.Hidden || f.Name == "help" {
		return
	}
	what, usage := pflag.UnquoteUsage(f)
	name := "--" + f.Name
	if f.Shorthand != "" {
		name = "-" + f.Shorthand + ", " + name
	}
	fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(name+" "+what)), roff(usage))
}

// roff escapes text: no line of it may begin with a control character.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
