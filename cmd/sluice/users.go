package main

import (
	"sluice/conf"
	"sluice/proxy"
	"sluice/proxy/acl"
	"sluice/proxy/command"
)

// proxyUser is a user of a validated configuration as the proxy knows it: without passwords, with compiled rights.
func proxyUser(p *conf.Pool, u *conf.User) proxy.User {
	out := proxy.User{Name: u.Name, Reads: userReads(p, u)}
	if !u.Password.Empty() {
		out.Passwords = append(out.Passwords, proxy.HashPassword(u.Password.Reveal()))
	}
	for _, text := range u.PasswordSHA256 {
		hash, err := proxy.ParsePasswordHash(text.Reveal())
		if err != nil {
			panic("BUG: a password hash that was not checked")
		}
		out.Passwords = append(out.Passwords, hash)
	}
	spec := u.Rights()
	rights, err := acl.New(spec)
	if err != nil {
		panic("BUG: rights that were not checked: " + err.Error())
	}
	out.Rights, out.Rules = rights, spec.Text()
	return out
}

// declaredCommands are the commands of [[pool.command]], by name.
func declaredCommands(p *conf.Pool) command.Declarations {
	if len(p.Commands) == 0 {
		return nil
	}
	all := make(command.Declarations, len(p.Commands))
	for i := range p.Commands {
		all[p.Commands[i].Name] = command.Declare(p.Commands[i].Declaration())
	}
	return all
}
