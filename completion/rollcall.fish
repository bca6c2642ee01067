# SPDX-License-Identifier: Apache-2.0
# Completion of rollcall(1) for fish: commands, options, and names of nodes where the daemon may be asked.

# Anybody may register any name: only plain ones are offered. With an argument "full" full names, else what stands before
# the @.
function __rollcall_names
    rollcall find --hidden --state any --timeout 1 2>/dev/null | while read -l name rest
        if test "$argv[1]" != full
            set name (string replace --regex '@[^@]*$' '' -- $name)
        end
        if test "$name" != NODE; and string match --quiet --regex '^[[:alnum:]_][[:alnum:]_.@-]*$' -- $name
            printf '%s\n' $name
        end
    end
end

# What was ordered: the argument is "entries" or "pins".
function __rollcall_ordered
    rollcall $argv[1] 2>/dev/null | while read -l name rest
        if test "$name" != NAME; and string match --quiet --regex '^[[:alnum:]_][[:alnum:]_.-]*$' -- $name
            printf '%s\n' $name
        end
    end
end

set -l commands status names find why history at wait watch check ready not-ready release add remove entries pin unpin pins
set -l without_command "not __fish_seen_subcommand_from $commands"

complete -c rollcall -f
complete -c rollcall -l control -r -F -d 'The control socket'
complete -c rollcall -l json -d 'For programs'
complete -c rollcall -s h -l help -d 'A summary'
complete -c rollcall -n $without_command -l version -d 'The version'

complete -c rollcall -n $without_command -a status -d 'How the daemon fares'
complete -c rollcall -n $without_command -a names -d 'Which nodes are registered'
complete -c rollcall -n $without_command -a find -d 'Nodes of a pattern, here or on other machines'
complete -c rollcall -n $without_command -a why -d 'Who holds a name, and by which evidence'
complete -c rollcall -n $without_command -a history -d 'Who was registered when'
complete -c rollcall -n $without_command -a at -d 'Who was registered at a time'
complete -c rollcall -n $without_command -a wait -d 'Until a node is there, or a name is free'
complete -c rollcall -n $without_command -a watch -d 'Every change, as it happens'
complete -c rollcall -n $without_command -a check -d 'Why can I not connect to a node'
complete -c rollcall -n $without_command -a ready -d 'A node is ready'
complete -c rollcall -n $without_command -a not-ready -d 'A node is about to leave'
complete -c rollcall -n $without_command -a release -d 'Take a name from its holder'
complete -c rollcall -n $without_command -a add -d 'Enter a node that does not register'
complete -c rollcall -n $without_command -a remove -d 'Take its entry away'
complete -c rollcall -n $without_command -a entries -d 'Nodes that were entered'
complete -c rollcall -n $without_command -a pin -d 'Give a name a port for good'
complete -c rollcall -n $without_command -a unpin -d 'Take it away'
complete -c rollcall -n $without_command -a pins -d 'Which names have one'

set -l named find why history wait watch ready not-ready release pin
complete -c rollcall -n "__fish_seen_subcommand_from $named" -a '(__rollcall_names)'
complete -c rollcall -n '__fish_seen_subcommand_from check' -a '(__rollcall_names full)'
complete -c rollcall -n '__fish_seen_subcommand_from remove' -a '(__rollcall_ordered entries)'
complete -c rollcall -n '__fish_seen_subcommand_from unpin' -a '(__rollcall_ordered pins)'

set -l selecting '__fish_seen_subcommand_from find wait watch'
complete -c rollcall -n $selecting -l at -x -a 'local (__fish_print_hostnames)' -d 'On that machine'
complete -c rollcall -n $selecting -l exclude -x -d 'Not these'
complete -c rollcall -n $selecting -l hidden -d 'Hidden nodes and those of tools, too'
complete -c rollcall -n $selecting -l state -x -a 'up starting ready stopping awaited any' -d 'In one of these states'
complete -c rollcall -n '__fish_seen_subcommand_from find wait watch check ready not-ready' -l port -x -d 'The port of EPMD'
complete -c rollcall -n '__fish_seen_subcommand_from add' -l port -x -d 'Where it listens'
complete -c rollcall -n '__fish_seen_subcommand_from add' -l address -x -d 'At which address'
complete -c rollcall -n '__fish_seen_subcommand_from add' -l host-part -x -d 'What stands behind the @'
complete -c rollcall -n '__fish_seen_subcommand_from pins' -l nft -d 'For nftables'
complete -c rollcall -n '__fish_seen_subcommand_from find wait check' -l timeout -x -d 'Give up after'
complete -c rollcall -n '__fish_seen_subcommand_from names history at' -l all -d 'With nodes of tools'
complete -c rollcall -n '__fish_seen_subcommand_from history at' -l utc -d 'Times in UTC'
complete -c rollcall -n '__fish_seen_subcommand_from history' -l since -x -a 'today yesterday -1h' -d 'Not before'
complete -c rollcall -n '__fish_seen_subcommand_from history' -l until -x -a 'today yesterday -1h' -d 'Not after'
complete -c rollcall -n '__fish_seen_subcommand_from history' -l limit -x -d 'At most so many'
complete -c rollcall -n '__fish_seen_subcommand_from wait' -l free -d 'Until nobody has the name'
complete -c rollcall -n '__fish_seen_subcommand_from wait' -l count -x -d 'Until so many are there'
complete -c rollcall -n '__fish_seen_subcommand_from watch' -l prefix -x -d 'Names that begin so'
complete -c rollcall -n '__fish_seen_subcommand_from ready not-ready' -l wait -x -d 'For the node to register'
complete -c rollcall -n '__fish_seen_subcommand_from wait check ready not-ready release add remove pin unpin' -s q -l quiet -d 'Nothing on standard output'
