#Requires -Version 5.1
<#
.SYNOPSIS
Installs rpcapd as a Windows service that forwards packets to a collector.

.DESCRIPTION
Fetches rpcapd over HTTPS, verifies it, and has it install itself in "Program Files\rpcapd" as the
service "rpcapd", which calls the collector. Run it again to upgrade or to change something. All but
the fetching is done by "rpcapd.exe service install", which can be used without this script.

Packets are captured with Npcap, which is another product with a licence of its own: the free edition
is for at most five machines and is installed by hand (https://npcap.com). It is neither part of rpcapd
nor fetched; the service can be installed before it.

Run it as an administrator. With -WhatIf it changes nothing, and tells what it would do.

.PARAMETER MgmtIP
The host that has rpcapd at https://HOST/tools/rpcapd/rpcapd-64bit-windows.zip, such as "rpcap listen".
Windows must trust its certificate; for an authority of your own, before:
Import-Certificate -FilePath ca.cer -CertStoreLocation Cert:\LocalMachine\Root

.PARAMETER RpcapIP
The collector to call, a name or an address.

.PARAMETER RpcapPort
The collector's port.

.PARAMETER InputDir
A directory that has rpcapd.exe already: nothing is fetched.

.PARAMETER OutputDir
Where to unpack what was fetched, and leave it. Otherwise that is a temporary directory.

.PARAMETER ZipUrl
Where to fetch rpcapd from, instead of -MgmtIP. It must begin with https://.

.PARAMETER Sha256
The SHA-256 of the zip file, in hexadecimal. Otherwise it is taken from the file SHA256SUMS beside the
zip file: that shows a damaged download, but not a host that lies.

.PARAMETER ConfigOnly
Write the configuration and do nothing else. rpcapd must be installed, or in -InputDir.

.PARAMETER KeepConfig
Keep the configuration that there is, rpcapd.toml or the rpcapd.ini of an older installation. A new one
is written only if there is none.

.PARAMETER DaemonAddlArgs
Further options of rpcapd, such as '--tls --tls-cert "C:\some where\cert.pem"'.

.PARAMETER Uninstall
Stop and remove the service, its event source and its programs. The configuration stays.

.EXAMPLE
.\install-rpcapd.ps1 -MgmtIP collector.example -RpcapIP collector.example

.EXAMPLE
.\install-rpcapd.ps1 -InputDir . -RpcapIP 192.0.2.1 -RpcapPort 2003 -WhatIf
#>
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    [string]$MgmtIP,
    [string]$RpcapIP,
    [ValidateRange(1, 65535)][int]$RpcapPort = 2003,
    [string]$InputDir,
    [string]$OutputDir,
    [string]$ZipUrl,
    [ValidatePattern('^([0-9A-Fa-f]{64})?$')][string]$Sha256,
    [switch]$ConfigOnly,
    [switch]$KeepConfig,
    [string[]]$DaemonAddlArgs,
    [switch]$Uninstall
)

Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
# Its progress bar makes Invoke-WebRequest of Windows PowerShell slow.
$ProgressPreference = 'SilentlyContinue'

# The same for a 32-bit PowerShell, which sees another %ProgramFiles%.
$programFiles = if ($Env:ProgramW6432) { $Env:ProgramW6432 } else { $Env:ProgramFiles }
$directory = Join-Path $programFiles 'rpcapd'
$installed = Join-Path $directory 'rpcapd.exe'
$config = Join-Path $directory 'rpcapd.toml'
$oldConfig = Join-Path $directory 'rpcapd.ini'

# Runs rpcapd.exe, and fails if it does.
function Invoke-Rpcapd {
    param([string]$Program, [string[]]$Arguments)
    & $Program $Arguments
    if ($LASTEXITCODE -ne 0) {
        throw "$Program $($Arguments -join ' ') failed (exit code $LASTEXITCODE): it has said why"
    }
}

# The words of a command line; those in double quotes may have blanks.
function Split-Option {
    param([string[]]$Text)
    foreach ($match in [regex]::Matches(($Text -join ' '), '(?:"[^"]*"|[^\s"])+')) {
        $match.Value.Replace('"', '')
    }
}

# Fetches one file over HTTPS; the server's certificate must be one that Windows trusts.
function Get-Verified {
    param([string]$Url, [string]$File)
    # What others have set in this session, such as taking any certificate, is not for this.
    [Net.ServicePointManager]::ServerCertificateValidationCallback = $null
    [Net.ServicePointManager]::SecurityProtocol = [Net.SecurityProtocolType]::Tls12
    # No redirections: they may lead away from HTTPS.
    Invoke-WebRequest -Uri $Url -OutFile $File -UseBasicParsing -MaximumRedirection 0
}

# Fetches, verifies and unpacks the zip file, and returns the directory.
function Get-Program {
    param([string]$Url, [string]$Temporary)
    $zip = Join-Path $Temporary 'rpcapd.zip'
    Write-Host "Fetching $Url"
    Get-Verified -Url $Url -File $zip
    $wanted = $Sha256
    if (-not $wanted) {
        $name = $Url.Substring($Url.LastIndexOf('/') + 1)
        $sums = Join-Path $Temporary 'SHA256SUMS'
        Get-Verified -Url ($Url.Substring(0, $Url.Length - $name.Length) + 'SHA256SUMS') -File $sums
        $line = '(?m)^([0-9A-Fa-f]{64}) [ *]' + [regex]::Escape($name) + '\r?$'
        $found = [regex]::Match((Get-Content -LiteralPath $sums -Raw), $line)
        if (-not $found.Success) {
            throw "SHA256SUMS beside $Url does not list ${name}: pass its SHA-256 with -Sha256"
        }
        $wanted = $found.Groups[1].Value
    }
    $is = (Get-FileHash -LiteralPath $zip -Algorithm SHA256).Hash
    if ($is -ne $wanted) {
        throw "$Url has the SHA-256 $is, not $wanted`: nothing was installed"
    }
    $unpacked = if ($OutputDir) { $OutputDir } else { Join-Path $Temporary 'rpcapd' }
    Expand-Archive -LiteralPath $zip -DestinationPath $unpacked -Force
    $unpacked
}

# Removes the service and its programs.
function Uninstall-Rpcapd {
    if (Test-Path -LiteralPath $installed) {
        $arguments = @('service', 'uninstall')
        if ($WhatIfPreference) { $arguments += '--dry-run' }
        Invoke-Rpcapd $installed $arguments
    } else {
        Write-Host "There is no $installed"
    }
    foreach ($name in 'rpcapd.exe', 'rpcap.exe') {
        $file = Join-Path $directory $name
        if ((Test-Path -LiteralPath $file) -and $PSCmdlet.ShouldProcess($file, 'remove')) {
            Remove-Item -LiteralPath $file
        }
    }
    Write-Host "The configuration in $directory stays"
}

# What "rpcapd service install" is told: where everything belongs, then the daemon's options.
function Get-InstallArgument {
    $arguments = @('service', 'install')
    if ($WhatIfPreference) { $arguments += '--dry-run' }
    if (-not $ConfigOnly) { $arguments += @('--to', $directory) }
    $hasNew = Test-Path -LiteralPath $config
    $hasOld = Test-Path -LiteralPath $oldConfig
    $extra = @(Split-Option $DaemonAddlArgs)
    if ($KeepConfig -and $hasOld -and -not $hasNew) {
        # As the older installer had it: the file has no word for -v.
        return $arguments + @('--', '-v', '-f', $oldConfig) + $extra
    }
    $arguments += @('--config', $config)
    if ($ConfigOnly) { $arguments += '--config-only' }
    if ($KeepConfig -and $hasNew) {
        if ($extra) { Write-Warning "$config is kept: -DaemonAddlArgs is not heeded" }
        return $arguments + '--keep-config'
    }
    if (-not $RpcapIP) { throw 'Whom to call is missing: -RpcapIP' }
    $arguments + @('--', '-n', '-v', '-a', "$RpcapIP,$RpcapPort") + $extra
}

function Install-Rpcapd {
    if ($ConfigOnly -and $KeepConfig) { throw '-ConfigOnly writes what -KeepConfig keeps' }
    $arguments = @(Get-InstallArgument)
    if ($ConfigOnly) {
        $program = if ($InputDir) { Join-Path $InputDir 'rpcapd.exe' } else { $installed }
        Invoke-Rpcapd $program $arguments
        Write-Host 'Restart-Service rpcapd has the service heed it'
        return
    }
    if (-not ($InputDir -or $ZipUrl -or $MgmtIP)) {
        throw 'Where to get rpcapd from is missing: -MgmtIP, -ZipUrl or -InputDir'
    }
    $url = if ($ZipUrl) { $ZipUrl } else { "https://$MgmtIP/tools/rpcapd/rpcapd-64bit-windows.zip" }
    if (-not $InputDir -and $url -notmatch '^https://') {
        throw "-ZipUrl ${url}: expected an address that begins with https://"
    }
    if (-not $InputDir -and -not $PSCmdlet.ShouldProcess($url, 'fetch and verify')) {
        Write-Host "Then it would run: rpcapd.exe $($arguments -join ' ')"
        return
    }
    $temporary = Join-Path ([IO.Path]::GetTempPath()) ([IO.Path]::GetRandomFileName())
    $null = New-Item -ItemType Directory -Path $temporary -WhatIf:$false
    try {
        $from = if ($InputDir) { $InputDir } else { Get-Program -Url $url -Temporary $temporary }
        Invoke-Rpcapd (Join-Path $from 'rpcapd.exe') $arguments
        $client = Join-Path $from 'rpcap.exe'
        if ((Test-Path -LiteralPath $client) -and $PSCmdlet.ShouldProcess($client, 'copy')) {
            Copy-Item -LiteralPath $client -Destination $directory -Force
        }
        if ($PSCmdlet.ShouldProcess('rpcapd', 'start the service')) {
            Invoke-Rpcapd $installed @('service', 'start')
        }
    } finally {
        Remove-Item -LiteralPath $temporary -Recurse -Force -WhatIf:$false
    }
}

if (-not [Environment]::Is64BitOperatingSystem) {
    throw 'rpcapd needs a 64-bit Windows'
}
$me = [Security.Principal.WindowsPrincipal][Security.Principal.WindowsIdentity]::GetCurrent()
$isAdministrator = $me.IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
if (-not $isAdministrator -and -not $WhatIfPreference) {
    throw 'Services are for administrators: run this in a PowerShell that was started as one'
}
if ($Uninstall) { Uninstall-Rpcapd } else { Install-Rpcapd }
